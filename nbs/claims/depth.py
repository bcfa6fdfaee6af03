"""Tokenizers that differ in their quantizer alone: depth.py OUT [--runs FOLDER] [--data NAME ...]

Each run is one file in FOLDER, and what is there is not done again. OUT gets all finished runs and
the verdicts; the pictures of the first seed lie in the folder of the same name. One thread.
"""
import argparse, math, time
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from statistics import mean

import torch
from torch import nn

from dnd_transformer.evaluation.extractors import load_extractor
from dnd_transformer.fidelity import feature_statistics, frechet_distance
from dnd_transformer.ocr import ocr_scores
from dnd_transformer.pictures import Digits, WordImages
from dnd_transformer.tokenizer import Tokenizer, TokenizerConfig
from dnd_transformer.tokenizer_training import TokenizerTraining, evaluate_tokenizer
from dnd_transformer.tokenizer_training import tokenizer_step
from dnd_transformer.toolbox.batches import batch_indices, stack
from dnd_transformer.toolbox.claims import save_claim, verdict
from dnd_transformer.toolbox.files import count_params, load_json, save_json, set_seed
from dnd_transformer.toolbox.images import image_grid, to_uint8
from dnd_transformer.toolbox.losses import Losses
from dnd_transformer.toolbox.reading import RapidReader
from dnd_transformer.toolbox.text import docs_text, held_out, vocabulary
from dnd_transformer.toolbox.training_loop import lr_at, set_lr

NETWORK = TokenizerConfig(image_channels=1, channels=32, multipliers=(1,), res_blocks=0,
                          attn_resolutions=(), z_channels=32, dim=32, codebook_size=64, depth=1)
RECIPE = TokenizerTraining(batch_size=16, lr=4e-3, warmup=40, betas=(.9, .95),
                           perceptual_weight=0., adversarial_weight=0.)
COARSE = {"words": dict(resolution=(16, 72), patch=8), "digits": dict(resolution=(16, 16), patch=4)}
STEPS = {"words": 300, "digits": 200}
SETTINGS = {"depth 1": dict(depth=1), "depth 2": dict(depth=2), "depth 4": dict(depth=4),
            "depth 8": dict(depth=8), "4096 entries": dict(codebook_size=4096),
            "finer grid": dict(patch=.5)}
STACKS = ("depth 1", "depth 2", "depth 4", "depth 8")
SEEDS = (0, 1, 2)
READ, SHOWN = 32, 6  # Held-out words that are read; held-out pictures that are kept


@cache
def pictures(data):
    "Training images, held-out images, and what is written on the latter (None: nothing)."
    if data == "digits": return stack(Digits(2000))[0], stack(Digits(300, seed=1))[0], None
    known, new = held_out(vocabulary(docs_text(), n=2000), .15)
    return WordImages(known).images, WordImages(new).images, new


def config_of(data, setting):
    "The network of a run: the same layers for all, so many pixels per position, one quantizer."
    config, change = replace(NETWORK, **COARSE[data]), dict(SETTINGS[setting])
    if "patch" in change: change["patch"] = int(change["patch"]*config.patch)
    return replace(config, **change)


def bits(config):
    "Bits of one picture's codes."
    return math.prod(config.grid)*config.depth*math.log2(config.codebook_size)


@torch.no_grad()
def place_entries(tok, images, batch_size):
    "Put all entries where the features are (k-means), and give up revival."
    features = torch.cat([tok.features(x) for x in images.split(100)])
    tok.quantizer.kmeans_start(features, 5)
    share = batch_size/len(images)/tok.config.depth  # counts as one batch leaves them
    for book in tok.quantizer.codebooks:
        book.revive = False
        book.cluster_size_ema.mul_(share), book.embed_ema.mul_(share)


class NoQuantizer(nn.Module):
    "Lets the features through as they are: what a network could draw at most."
    codebooks = ()
    def forward(self, x): return x, torch.zeros(*x.shape[:-1], 1, dtype=torch.long), x.new_zeros(())
    def kmeans_start(self, x, iterations): pass


def train(config, images, recipe, quantizer=None):
    "A tokenizer from nothing, perhaps with another quantizer, and its error at every step."
    set_seed(recipe.seed)
    tok, curve = Tokenizer(config).train(), []
    tok.quantizer = quantizer or tok.quantizer
    optimizer = torch.optim.Adam(tok.parameters(), recipe.lr, recipe.betas, fused=True)
    losses = Losses(config, recipe, images.device)
    for i in range(recipe.steps):
        set_lr(optimizer, lr_at(i, recipe.steps, recipe.lr, recipe.warmup, recipe.final_lr))
        if i == recipe.steps//2: place_entries(tok, images, recipe.batch_size)
        batch = images[batch_indices(i, len(images), recipe.batch_size, recipe.seed)]
        curve.append(tokenizer_step(tok, optimizer, losses, batch)["reconstruction"].item())
    return tok.eval(), curve


def last_quarter(curve):
    "By how many dB the training error still falls from the third quarter to the last."
    n = len(curve)//4
    return 10*math.log10(sum(curve[-2*n:-n])/sum(curve[-n:]))


@cache
def extractor(): return load_extractor("random-conv-64")


@cache
def reader(): return RapidReader()


def statistics(images):
    "What the extractor sees in grey pictures, as a Gaussian."
    return feature_statistics(extractor()(to_uint8(images).expand(-1, 3, -1, -1))["features"])


def score(tok, held, texts):
    "All measures of a trained tokenizer on pictures that it has not seen."
    found = evaluate_tokenizer(tok, held)
    drawn = torch.cat([tok.decode(tok.encode(x)) for x in held.split(64)]).clamp(-1, 1)
    found["distance"] = frechet_distance(*statistics(held), *statistics(drawn))
    if texts: found["reading"] = ocr_scores(drawn[:READ], texts[:READ], reader())
    return found, drawn[:SHOWN]


def run(data, setting, seed, factor, folder):
    "One tokenizer, trained and measured; the first seed leaves its pictures in `folder`."
    images, held, texts = pictures(data)
    config, start = config_of(data, setting), time.process_time()
    tok, curve = train(config, images, replace(RECIPE, steps=factor*STEPS[data], seed=seed))
    seconds = time.process_time()-start
    found, drawn = score(tok, held, texts if factor == 1 else None)
    if seed == 0 and factor == 1:
        folder.mkdir(parents=True, exist_ok=True)
        for name,x in ((setting, drawn), ("original", held[:SHOWN])):
            image_grid(x, 1, pad=0).convert("L").save(folder/f"{data} {name}.png".replace(" ", "-"))
    return dict(data=data, setting=setting, seed=seed, factor=factor, steps=len(curve),
                grid=config.grid, depth=config.depth, codebook_size=config.codebook_size,
                bits=bits(config), parameters=count_params(tok, trainable=True),
                last_quarter=last_quarter(curve), **found,
                training_cpu_seconds=seconds, cpu_seconds=time.process_time()-start)


def wanted(datasets):
    "Every run, seed after seed, so that an early end leaves whole comparisons."
    plan = [(d, s, seed, 1) for seed in SEEDS for d in datasets for s in SETTINGS]
    return plan+[("digits", s, 0, 3) for s in SETTINGS if "digits" in datasets]


MEASURES = {"PSNR": lambda r: r["psnr"][-1], "distance": lambda r: -r["distance"],
            "rOCR": lambda r: r["reading"]["rougeL"]}


def seeds(runs, data, setting, f, factor=1):
    "What `f` says of each seed of a setting."
    key = data, setting, factor
    return [f(r) for r in runs if (r["data"], r["setting"], r["factor"]) == key]


def whole(runs):
    "The data sets of which no run is missing."
    return [d for d in COARSE if all(len(seeds(runs, d, s, len)) == len(SEEDS) for s in SETTINGS)]


def columns(runs, originals):
    "Which measure counts on which data set; reading only where something can be read."
    best = [max(seeds(runs, d, s, MEASURES["rOCR"])) for d in whole(runs) for s in SETTINGS
            if d == "words"]
    read = max(best, default=0) >= .1*originals
    return [(d, m) for d in whole(runs) for m in MEASURES if m != "rOCR" or d == "words" and read]


def compared(runs, a, b, data, measure):
    "How setting `a` does beside setting `b`."
    x, y = (seeds(runs, data, s, MEASURES[measure]) for s in (a, b))
    return "better" if min(x) > max(y) else "worse" if max(x) < min(y) else "overlap"


def doublings(runs, where):
    "Whether each doubling of depth is better, by the rule on the page."
    ends = {compared(runs, "depth 8", "depth 1", *c) for c in where if c[1] != "rOCR"}
    if ends != {"better"}: return "does not hold"
    steps = {compared(runs, b, a, *c) for a,b in zip(STACKS, STACKS[1:]) for c in where}
    return "holds" if steps == {"better"} else "holds in part"


def as_good(runs, stack, rival, where):
    "Whether a stack does as well as its rival of equal bits, by the rule on the page."
    found = {compared(runs, stack, rival, *c) for c in where}
    if found == {"worse"}: return "does not hold"
    return "holds in part" if "worse" in found else "holds"


def turned(runs, a, b):
    "Whether three times the steps turn around which of two settings has the higher PSNR."
    gaps = [mean(seeds(runs, "digits", a, MEASURES["PSNR"], k))
            - mean(seeds(runs, "digits", b, MEASURES["PSNR"], k)) for k in (1, 3)]
    return gaps[0]*gaps[1] < 0


def decibels(runs, *settings):
    "PSNR of some settings, in words."
    def one(d, s):
        v = seeds(runs, d, s, MEASURES["PSNR"])
        return f"{s} {mean(v):.2f} ({min(v):.2f} to {max(v):.2f})"
    return "; ".join(f"{d}: {', '.join(one(d, s) for s in settings)} dB" for d in whole(runs))+"."


def judged(runs, originals):
    "The verdicts, by the rule on the page."
    where, word = columns(runs, originals), "cannot be told at this scale"
    rows = [("Each doubling of depth gives better reconstructions.",
             "Table 1: rFID 2.98, .93, .60, .42 at depth 1, 2, 4, 8.", STACKS,
             doublings(runs, where), turned(runs, "depth 8", "depth 1")),
            ("Two codes from 64 entries do as well as one from 4,096 (equal bits).",
             "Not compared.", ("depth 2", "4096 entries"),
             as_good(runs, "depth 2", "4096 entries", where),
             turned(runs, "depth 2", "4096 entries")),
            ("Four codes on the coarse grid do as well as one on the finer grid (equal bits).",
             "Not compared.", ("depth 4", "finer grid"),
             as_good(runs, "depth 4", "finer grid", where),
             turned(runs, "depth 4", "finer grid"))]
    return [verdict(claim, paper, decibels(runs, *settings), word if unsure else found)
            for claim,paper,settings,found,unsure in rows]


def collect(folder, out):
    "All finished runs and what they mean, in one file."
    runs = [load_json(p) for p in sorted(folder.glob("*-*.json"))]
    longer = all(seeds(runs, "digits", s, len, 3) for s in SETTINGS)
    if "digits" not in whole(runs) or not longer: return print("not enough runs for a verdict")
    runs = [r for r in runs if r["data"] in whole(runs)]
    originals = load_json(folder/"reader.json")["rougeL"] if "words" in whole(runs) else None
    save_claim(out, "claims/depth.ipynb", judged(runs, originals or 0), SEEDS,
               sum(r["cpu_seconds"] for r in runs), network=asdict(NETWORK), recipe=asdict(RECIPE),
               rocr_of_originals=originals, runs=runs)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/claims/depth"))
    parser.add_argument("--data", nargs="*", choices=list(COARSE), default=list(COARSE))
    args = parser.parse_args()
    torch.set_num_threads(1)
    if "words" in args.data and not (args.runs/"reader.json").is_file():
        _, held, texts = pictures("words")
        save_json(ocr_scores(held[:READ], texts[:READ], reader()), args.runs/"reader.json")
    for key in wanted(args.data):
        place = args.runs/f"{key[0]}-{key[1].replace(' ', '-')}-{key[2]}-{key[3]}.json"
        if place.is_file(): continue
        row = run(*key, args.out.with_suffix(""))
        save_json(row, place)
        print(*key, f"{row['psnr'][-1]:.2f} dB, {row['cpu_seconds']:.0f} s", flush=True)
    collect(args.runs, args.out)


if __name__ == "__main__": main()
