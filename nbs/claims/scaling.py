"""Loss of transformers of six sizes on codes of text: scaling.py OUT [--work FOLDER]

OUT is `results/claims/scaling.json`. FOLDER keeps the codes and every finished training, so that
a killed run goes on with the next training. The whole plan takes about 20 minutes of one
processor; `--first 20` does the first 20 of its trainings.
"""
import argparse, hashlib, time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset, TensorDataset

from dnd_transformer import load_tokenizer
from dnd_transformer.codes import extract_codes
from dnd_transformer.toolbox.claims import VERDICTS, save_claim, verdict
from dnd_transformer.toolbox.files import load_json, save_json, set_seed
from dnd_transformer.toolbox.images import to_tensor
from dnd_transformer.toolbox.run_folder import RunFolder, fingerprint
from dnd_transformer.toolbox.text import docs_text, draw_word, word_fits
from dnd_transformer.toolbox.transformer_settings import TRANSFORMERS, TransformerTraining
from dnd_transformer.training import train_transformer, validation_loss
from dnd_transformer.transformer import DnDTransformer

SIZES = {"16x2": (16, 2), "32x2": (32, 2), "64x2": (64, 2), "96x3": (96, 3), "128x4": (128, 4),
         "192x5": (192, 5)}  # width x layers
IMAGES = (2560, 7680, 23_040)  # crops of text to learn from, each seen once
HELD_OUT, BATCH, LR, CHARS = 3000, 32, 6e-3, 9


class Crops(Dataset):
    "Nine characters of running text from anywhere in a part of it, as pictures of 16x72 pixels."
    def __init__(self, n, first, last, seed):
        self.n, self.first, self.last, self.seed = n, first, last, seed
        text, rng = " ".join(docs_text().split()), np.random.default_rng(seed)
        self.text = hashlib.sha256(text.encode()).hexdigest()[:16]
        low, high = int(first*len(text)), int(last*len(text))-CHARS
        self._crops = []
        while len(self._crops) < n:
            start = int(rng.integers(low, high))
            crop = text[start:start+CHARS].strip()
            if crop.isascii() and word_fits(crop): self._crops.append(crop)

    def __len__(self): return self.n
    def __getitem__(self, i): return to_tensor(draw_word(self._crops[i])), 0


def config(size):
    "The settings of one size: two codes per position, and nothing random in training."
    dim, layers = SIZES[size]
    return replace(TRANSFORMERS["words"], dim=dim, n_layer=layers, n_head=dim//16, depth=2,
                   head_layers=None)


def numbers(size):
    "How many parameters every position is multiplied with: all matrices but the embeddings."
    named = DnDTransformer(config(size)).named_parameters()
    return sum(p.numel() for n,p in named if p.ndim == 2 and "embedding" not in n)


def rate(size):
    "The learning rate: wider models take smaller ones."
    return LR*(64/SIZES[size][0])**.5


def data(folder, images=max(IMAGES), held_out=HELD_OUT):
    "The two coarsest codes of crops to learn from, and of others from the last fifth of the text."
    tok, chosen = load_tokenizer("words").eval(), {}
    sets = dict(train=Crops(images, 0., .8, seed=11), held_out=Crops(held_out, .8, 1., seed=12))
    for name,crops in sets.items():
        codes, labels = extract_codes(tok, crops, Path(folder)/name)[torch.arange(len(crops))]
        chosen[name] = codes[...,:2], labels
    return chosen, dict(tokenizer=fingerprint(tok), text=crops.text)


def train(codes, size, images, seed, factor=1.):
    "One training over `images` crops, each seen once: held-out loss and seconds of processor."
    set_seed(seed)
    start, steps = time.process_time(), images//BATCH
    model = DnDTransformer(config(size))
    settings = TransformerTraining(steps, BATCH, factor*rate(size), warmup=20, final_lr=0.,
                                   ema_decay=0., seed=seed)
    train_transformer(model, TensorDataset(*(x[:images] for x in codes["train"])), settings,
                      keys=())
    loss = validation_loss(model, TensorDataset(*codes["held_out"]))
    return dict(size=size, images=images, seed=seed, factor=factor, loss=loss,
                cpu_seconds=time.process_time()-start)


def plan():
    "All trainings, what matters most first; the last two ask whether the rule of the rate is fair."
    (*small, large, largest), (short, middle, long) = SIZES, IMAGES
    runs = [(s, n, 0) for s in small for n in IMAGES]
    runs += [(small[0], n, k) for n in IMAGES for k in (1, 2)]
    runs += [(s, n, k) for s in small[1:] for n in (short, middle) for k in (1, 2)]
    runs += [(large, n, 0) for n in IMAGES]+[(s, long, k) for s in small[1:] for k in (1, 2)]
    runs += [(large, n, k) for n in (short, middle) for k in (1, 2)]
    runs += [(largest, short, k) for k in range(3)]+[(largest, middle, 0)]
    return [(*r, 1.) for r in runs]+[(small[2], middle, 0, f) for f in (.5, 2.)]


def fit(rows, weights=None, grid=np.linspace(.05, 1.2, 47)):
    "Least squares of the relative error: `loss = E + A*(N/1e5)**-a + B*(D/1e4)**-b`."
    n, d, y = (np.array([r[k] for r in rows], float) for k in ("numbers", "images", "loss"))
    w = np.ones((1, len(y))) if weights is None else np.asarray(weights, float)
    a, b = (g.ravel()[:,None] for g in np.meshgrid(grid, grid))
    columns = np.stack([np.ones((len(a), len(y))), (n/1e5)**-a, (d/1e4)**-b], -1)/y[:,None]
    best, error = np.zeros((len(w), 5)), np.full(len(w), np.inf)
    for used in ([0, 1, 2], [1, 2]):  # the second: nothing is irreducible
        x = columns[...,used]
        gram = np.einsum("wn,gnij->wgij", w, x[...,:,None]*x[...,None,:], optimize=True)
        gram = gram+1e-9*np.eye(len(used))  # a draw may hold one size only
        right = np.einsum("wn,gni->wgi", w, x, optimize=True)
        found = np.linalg.solve(gram, right[...,None])[...,0]
        left = np.where((found < 0).any(-1), np.inf, w.sum(1)[:,None]-(found*right).sum(-1))
        g, rows_ = left.argmin(1), np.arange(len(w))
        better = left[rows_, g] < error
        new = np.zeros((len(w), 5))
        new[:,used], new[:,3:] = found[rows_, g], np.concatenate([a, b], 1)[g]
        best[better], error[better] = new[better], left[rows_, g][better]
    return best


def predicted(fits, numbers, images):
    "The loss that each of `fits` gives for a size and a number of images."
    e, a, b, alpha, beta = fits.T
    return e+a*(numbers/1e5)**-alpha+b*(images/1e4)**-beta


def redrawn(rows, draws=500, seed=0):
    "Bootstrap weights: points (size and images) are drawn again, and the seeds of each."
    rng, points = np.random.default_rng(seed), {}
    for i,r in enumerate(rows): points.setdefault((r["size"], r["images"]), []).append(i)
    points, weights = list(points.values()), np.zeros((draws, len(rows)))
    for w in weights:
        for p in rng.integers(len(points), size=len(points)):
            for i in rng.choice(points[p], len(points[p])): w[i] += 1/len(points[p])
    return weights


def ruled(rows):
    "The trainings at the rate of the rule, which the fit and the verdicts are about."
    return [r for r in rows if r["factor"] == 1]


def by_point(rows):
    "Losses of all seeds by number of images and size, sizes rising."
    losses = {n: {} for n in IMAGES}
    for r in sorted(rows, key=lambda r: r["numbers"]):
        losses[r["images"]].setdefault(r["size"], []).append(r["loss"])
    return losses


def below(larger, smaller): return max(larger) < min(smaller)


def left_out(rows):
    "The largest size as the fit without it foretells it: measured, foretold and its interval."
    largest = max(r["numbers"] for r in rows)
    rest, last = ([r for r in rows if (r["numbers"] == largest) == k] for k in (False, True))
    found, one, many = [], fit(rest), fit(rest, redrawn(rest))
    for images in sorted({r["images"] for r in last}):
        losses = [r["loss"] for r in last if r["images"] == images]
        low, high = np.quantile(predicted(many, largest, images), [.025, .975])
        found.append(dict(images=images, measured=sum(losses)/len(losses),
                          foretold=float(predicted(one, largest, images)[0]),
                          low=float(low), high=float(high)))
    return found


def paper_gain(fits, xxl=1.436e9, xxxl=2.569e9, images=300*1.28e6):
    "By which share of the loss XXXL lies below XXL, if a fit held up to there."
    a, b = (predicted(fits, n, images) for n in (xxl, xxxl))
    return 1-b/a


def judged(results):
    "The verdicts, by the rules on the page."
    rows = ruled(results["runs"])
    points = [list(sizes.items()) for sizes in by_point(rows).values()]
    steps = [below(b, a) for p in points for (_,a),(_,b) in zip(p, p[1:])]
    known = [losses for _,losses in points[-1] if len(losses) >= 3]
    first = VERDICTS[-1]
    if len(known) > 1 and below(known[-1], known[0]): first = "holds in part"
    if len(known) > 1 and below(known[0], known[-1]): first = "does not hold"
    if len(known) == len(points[-1]) and all(steps): first = "holds"
    foretold = [r["low"] <= r["measured"] <= r["high"] for r in left_out(rows)]
    many = fit(rows, redrawn(rows))
    low, high = np.quantile(paper_gain(many), [.025, .975])
    alpha = np.quantile(many[:,3], [.025, .975])
    second = "holds in part" if all(foretold) and 0 < high < 2*low else VERDICTS[-1]
    return [
        verdict("Larger models of the same kind predict better.",
                "FID 2.58 with 1.44 billion parameters, 2.21 with 2.57 billion (Table 2).",
                f"All seeds apart in {sum(steps)} of {len(steps)} steps to the next size; "
                f"exponent of size {alpha[0]:.2f} to {alpha[1]:.2f}.", first),
        verdict("Small models foretell the gain from XXL to XXXL.",
                "FID 14 % lower; two sizes, no curve.",
                f"The largest size is foretold at {sum(foretold)} of {len(foretold)} points; the "
                f"loss of XXXL would be {100*low:.2g} to {100*high:.2g} % lower.", second)]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("out")
    ap.add_argument("--work", default="runs/claims/scaling")
    ap.add_argument("--first", type=int, help="only so many trainings of the plan")
    args = ap.parse_args()
    torch.set_num_threads(1)
    start, work = time.process_time(), Path(args.work)
    codes, source = data(work/"codes")
    identity = dict(**source, sizes=SIZES, images=IMAGES, held_out=HELD_OUT,
                    batch=BATCH, lr=LR)
    run, rows = RunFolder(work/"runs", "trainings of six sizes", identity), []
    if not (work/"codes.json").exists(): save_json(time.process_time()-start, work/"codes.json")
    for p in plan()[:args.first]:
        path = run.path/f"{p[0]}-{p[1]}-{p[2]}-{p[3]}.json"
        if not path.exists(): save_json(train(codes, *p), path)
        rows.append({**load_json(path), "numbers": numbers(p[0])})
        print(*rows[-1].values(), flush=True)
    results = dict(identity=identity, planned=len(plan()), runs=rows)
    cpu = load_json(work/"codes.json")+sum(r["cpu_seconds"] for r in rows)
    save_claim(args.out, "claims/scaling.ipynb", judged(results), [0, 1, 2], cpu, **results)


if __name__ == "__main__": main()
