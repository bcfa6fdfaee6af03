"""Half a picture is given, the rest is drawn: completion.py OUT [--work FOLDER]

OUT is `results/claims/completion.json`. FOLDER keeps every finished part, so that a killed run
goes on with the next one. About five minutes of one processor.
"""
import argparse, re, time
from functools import cache
from pathlib import Path

import torch

from dnd_transformer import DnDPipeline
from dnd_transformer.pictures import Digits, WordImages
from dnd_transformer.sampler import Sampler
from dnd_transformer.toolbox.batches import stack
from dnd_transformer.toolbox.claims import save_claim, verdict
from dnd_transformer.toolbox.files import load_json, save_json
from dnd_transformer.toolbox.reading import RapidReader
from dnd_transformer.toolbox.run_folder import RunFolder, fingerprint
from dnd_transformer.toolbox.text import PhraseImages, docs_text, held_out, phrases, sentences

SETS = {"words": .5, "digits": 1., "phrases": .5}  # temperatures
COUNTS = {"words": 100, "digits": 100, "phrases": 24}  # pictures for each seed
SEEDS, CANDIDATES = (0, 1, 2), 16
KEEPS = ("upper", "left", "lower", "right")


def mask(keep, grid):
    "Which positions are given: True in one half of the grid, `(h, w, 1)`."
    row, column = torch.meshgrid(*map(torch.arange, grid), indexing="ij")
    halves = dict(upper=2*row < grid[0], lower=2*row >= grid[0],
                  left=2*column < grid[1], right=2*column >= grid[1])
    return halves[keep][...,None]


@torch.no_grad()
def likelihoods(model, codes, labels):
    "Log-probability of every code given all before it, `(b, h, w, depth)`."
    logp = torch.cat([model(c, y).log_softmax(-1).gather(-1, c.flatten(1, 2).long()[...,None])
                      for c,y in zip(codes.split(64), labels.split(64))])
    return logp.view(codes.shape)


def originals(name, pipe, seed, n):
    "`n` pictures, what they show, and the labels for drawing without being told."
    if name == "digits":
        images, truth = stack(Digits(n, seed=1000+seed))
        return images, truth.tolist(), pipe.classes([None]*n)
    if name == "words": data = WordImages()
    else: data = PhraseImages(phrases(held_out(sentences(docs_text()))[1]))
    chosen = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[:n].tolist()
    texts = data.words if name == "words" else data.texts
    return torch.stack([data[i][0] for i in chosen]), [texts[i] for i in chosen], pipe.classes(n)


def best_of(pipe, known, labels, seed, temperature, candidates=CANDIDATES):
    "Draw several completions, and take the one to which the given codes come least unexpected."
    many, asked = known.repeat_interleave(candidates, 0), labels.repeat_interleave(candidates)
    codes = pipe(asked.tolist(), seed, known=many, temperature=temperature).codes
    fits = (likelihoods(pipe.transformer, codes, asked)*(many >= 0)).flatten(1).sum(1)
    best = fits.view(-1, candidates).argmax(1)+torch.arange(len(known))*candidates
    return codes[best]


class NearestDigit:
    "Takes a picture for the digit of the nearest of 8,000 real ones, pixel by pixel."
    def __init__(self): self.images, self.labels = stack(Digits(8000, seed=100))
    def __call__(self, images):
        return self.labels[torch.cdist(images.flatten(1), self.images.flatten(1)).argmin(1)]


def judge(name, images, truth):
    "Shares of pictures that show something that exists, and the same as the original."
    if name == "digits":
        same = (tools()["digits"](images) == torch.tensor(truth)).float().mean().item()
        return dict(same=same)
    read = [" ".join(t.lower().split()) for t in tools()["reader"](images)]
    known, words = tools()[name], [w for t in read for w in t.split() or [""]]
    return dict(exists=sum(w in known for w in words)/len(words),
                same=sum(r == t.lower() for r,t in zip(read, truth))/len(read))


@cache
def tools():
    "What pictures are judged with."
    prose = set(re.findall("[a-z]+", docs_text().lower()))
    return dict(reader=RapidReader(), digits=NearestDigit(), phrases=prose,
                words={w.lower() for w in WordImages().words})


def measure(name, seed, n=None):
    "Every half given once: a row of shares for each, and for the originals as the codes say them."
    pipe, temperature = DnDPipeline.from_pretrained(name, engine=Sampler), SETS[name]
    images, truth, labels = originals(name, pipe, seed, n or COUNTS[name])
    codes = pipe.tokenizer.encode(images)[...,:pipe.transformer.config.depth]
    true = likelihoods(pipe.transformer, codes, labels)
    shown = lambda c: judge(name, pipe.tokenizer.decode(c).clamp(-1, 1), truth)
    rows = [dict(set=name, seed=seed, given="all", unexpected=0., **shown(codes))]
    several = [f"{k}, best of {CANDIDATES}" for k in KEEPS[2:] if name == "digits"]
    for keep in (*KEEPS, *several, "nothing"):
        half, _, best = keep.partition(",")
        given = torch.zeros_like(codes).bool()
        if keep != "nothing": given |= mask(half, pipe.tokenizer.config.grid)
        known = codes.where(given, -1)
        if best: drawn = best_of(pipe, known, labels, seed, temperature)
        else: drawn = pipe(labels.tolist(), seed, known=known, temperature=temperature).codes
        # What the given codes lose in likelihood because of what was drawn before them
        lost = (true-likelihoods(pipe.transformer, drawn, labels))[given]
        lost = lost.mean().item() if len(lost) else 0.
        rows.append(dict(set=name, seed=seed, given=keep, unexpected=lost, **shown(drawn)))
    return rows


SCORE = {"words": "same", "digits": "same", "phrases": "exists"}


def score(results, name, given):
    "What counts for a set, one number for each seed: see the rules on the page."
    rows = (r for r in results["rows"] if (r["set"], r["given"]) == (name, given))
    return [r[SCORE[name]] for r in rows]


def percent(values):
    "Mean, lowest and highest."
    low, mean, high = (100*v for v in (min(values), sum(values)/len(values), max(values)))
    return f"{mean:.0f} % ({low:.0f} to {high:.0f})"


def judged(results):
    "The verdicts, by the rules on the page."
    all_, upper, lower = ({n: score(results, n, g) for n in SETS} for g in ("all", *KEEPS[::2]))
    texts = [n for n in SETS if n != "digits"]
    good = [min(upper[n]) >= .9*sum(all_[n])/len(all_[n]) for n in texts]
    equal = [min(lower[n]) >= .9*sum(upper[n])/len(upper[n]) for n in SETS]
    apart = [max(lower[n]) < min(upper[n]) for n in SETS]
    shown = lambda scores: ", ".join(f"{n} {percent(scores[n])}" for n in SETS)
    return [
        verdict("A model in raster order completes the lower half of a picture.",
                "Not tried; the order of Section 3.2 allows it.",
                f"Completed as it was, or into words that exist: {shown(upper)}.",
                "holds" if all(good) else "holds in part" if any(good) else "does not hold"),
        verdict("It does not matter which half of a picture is given.",
                "Raster order; no other is compared.",
                f"The same with the lower half given: {shown(lower)}.",
                "holds" if all(equal) else "does not hold" if all(apart) else "holds in part")]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("out")
    ap.add_argument("--work", default="runs/claims/completion")
    args = ap.parse_args()
    torch.set_num_threads(1)
    rows, about, cpu = [], {}, 0.
    for name in SETS:
        about[name] = dict(model=fingerprint(DnDPipeline.from_pretrained(name).transformer),
                           count=COUNTS[name], candidates=CANDIDATES, temperature=SETS[name])
        run = RunFolder(Path(args.work)/name, "completions", about[name])
        for seed in SEEDS:
            path, start = run.path/f"{seed}.json", time.process_time()
            if not path.exists():
                found = measure(name, seed)
                save_json(dict(rows=found, cpu_seconds=time.process_time()-start), path)
            part = load_json(path)
            rows, cpu = rows+part["rows"], cpu+part["cpu_seconds"]
            for r in part["rows"]: print(*r.values(), flush=True)
    results = dict(sets=about, rows=rows)
    save_claim(args.out, "claims/completion.ipynb", judged(results), SEEDS, cpu, **results)


if __name__ == "__main__": main()
