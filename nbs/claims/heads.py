"""Where heads hang, what they share, how deep they go: heads.py OUT [--runs FOLDER] [--end]

Several processes may work at once, as with `two_dimensions.py`, whose structures, data and
measures these trainings share. With --end, when all is done, OUT is written. The runs of DnD with
four heads are not trained again: they are taken from the result of that program.
"""
import argparse
from collections import defaultdict
from dataclasses import asdict, replace
from pathlib import Path
from statistics import mean

import torch
from torch import nn

from dnd_transformer.models.checkpoints import load_tokenizer
from dnd_transformer.tokenizer import Tokenizer
from dnd_transformer.toolbox.claims import save_claim, verdict
from dnd_transformer.toolbox.files import load_json, save_json
from two_dimensions import CONFIG, SEEDS, TRAINING, Data, DnD, Structure, Vertical, mine, one_run
from two_dimensions import word


class HeadsOnly(Structure):
    "Feedback that only the later heads of the stack see: the stream goes on without it."
    def climb(self, h, rope, caches=None):
        known = torch.zeros_like(h)
        for blocks in self.segments:
            h = self.through(blocks, h, rope, caches)
            told = yield h+known
            known = known+self.tok_embeddings(told)


class OwnTable(Structure):
    "Feedback with vectors of its own, instead of those that enter at the bottom."
    def __init__(self, config):
        super().__init__(config)
        self.back = nn.Embedding(config.codebook_size, config.dim)
        nn.init.normal_(self.back.weight, std=config.embed_std)

    def climb(self, h, rope, caches=None):
        for blocks in self.segments:
            h = self.through(blocks, h, rope, caches)
            told = yield h
            h = h+self.back(told)


LAST = "last layers"  # the DnD of `two_dimensions`
PLACES = {"spread": dict(head_layers=(1, 2, 4, 5)), "early": dict(head_layers=(0, 1, 2, 5))}
VARIANTS = {**{name: (DnD, changes) for name,changes in PLACES.items()},
            "one output for all": (DnD, dict(share_heads=True)),
            "own table": (OwnTable, {}), "for the heads only": (HeadsOnly, {})}
DEPTHS = (1, 2, 4, 8)


def tall(depth):
    "Settings of a narrower model with layers for eight heads; they hang on the last ones."
    return replace(CONFIG, n_layer=12, dim=64, depth=depth, head_layers=tuple(range(12-depth, 12)))


def plan():
    "What to train: name, class, settings of the model, seed."
    todo = [(name, cls, replace(CONFIG, **changes)) for name,(cls,changes) in VARIANTS.items()]
    for depth in DEPTHS:
        todo.append((f"DnD, depth {depth}", DnD, tall(depth)))
        if depth > 1: todo.append((f"vertical, depth {depth}", Vertical, tall(depth)))
    return [(*t, seed) for seed in SEEDS for t in todo]


def deeper(depth):
    "The tokenizer of the words with so many codes: its one codebook serves for more, too."
    tok = load_tokenizer("words")
    other = Tokenizer(replace(tok.config, depth=depth)).eval().requires_grad_(False)
    other.load_state_dict(tok.state_dict())
    return other


# The rules

def gaps(runs, depth):
    "Nats per picture that feedback saves at a depth, seed by seed."
    return [v["nats"]-d["nats"]
            for v,d in zip(runs[f"vertical, depth {depth}"], runs[f"DnD, depth {depth}"])]


def growth(runs):
    "The rule for depth: do the savings of every two neighbouring depths lie apart?"
    found = [gaps(runs, depth) for depth in DEPTHS[1:]]
    steps = [min(b) > max(a) for a,b in zip(found, found[1:])]
    back = [max(b) < min(a) for a,b in zip(found, found[1:])]
    if all(steps): return "holds"
    if any(steps): return "holds in part"
    return "does not hold" if any(back) else "cannot be told at this scale"


def shown(runs, names):
    "Nats per picture and the share of samples that are read, in a sentence."
    each = (f"{k} {mean(r['nats'] for r in runs[k]):.2f} and "
            f"{100*mean(r['samples']['1.0']['share'] for r in runs[k]):.0f} %" for k in names)
    return f"Nats per picture and samples read as words, means of 3 seeds: {'; '.join(each)}."


def judged(runs):
    "The verdicts, by the rules on the page."
    against = lambda names: word({"DnD": runs[LAST], **runs}, names)
    feedback = ("own table", "for the heads only")
    without = {d: mean(r["nats"] for r in runs[f"vertical, depth {d}"]) for d in DEPTHS[1:]}
    saved = "; ".join(f"depth {d} {mean(gaps(runs, d)):.1f} of {nats:.1f}"
                      for d,nats in without.items())
    return [
        verdict("The last layers are the place for the heads.",
                "Heads in the upper half of the layers; no other place is compared.",
                shown(runs, (LAST, *PLACES)), against(tuple(PLACES))),
        verdict("Every depth needs an output matrix of its own.",
                "Own matrices; sharing them is an option of the code, without numbers.",
                shown(runs, (LAST, "one output for all")), against(("one output for all",))),
        verdict("The code is best added to the stream, from the table at the bottom.",
                "Done so, and not compared with anything.",
                shown(runs, (LAST, *feedback)), against(feedback)),
        verdict("The deeper the stack, the more feedback is worth.",
                "Vertical and DnD are compared at depth 2 only.",
                f"Nats per picture that feedback saves, means of 3 seeds: {saved}.",
                growth(runs))]


def collect(folder, out, base):
    "All runs, what they mean and where the shared ones come from, in one file."
    found = defaultdict(list)
    for path in sorted(folder.rglob("result.json")):
        found[path.parent.parent.name].append(load_json(path))
    unfinished = [name for name,*_ in plan() if len(found[name]) < len(SEEDS)]
    if unfinished: raise SystemExit(f"Not finished: {', '.join(dict.fromkeys(unfinished))}.")
    cpu = sum(sum(run["cpu_seconds"].values()) for runs in found.values() for run in runs)
    found[LAST] = load_json(base)["runs"]["DnD"]
    codes = load_json(folder/"codes.json")
    save_claim(out, "claims/heads.ipynb", judged(found), SEEDS, cpu, config=asdict(CONFIG),
               tall=asdict(tall(8)), training=asdict(TRAINING), codes=codes, runs=found)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("out")
    ap.add_argument("--runs", default="runs/claims/heads", help="what is done so far")
    ap.add_argument("--end", action="store_true", help="all runs are done: write OUT")
    args = ap.parse_args()
    torch.set_num_threads(1)
    folder = Path(args.runs)
    base = Path(__file__).parents[2]/"results/claims/two_dimensions.json"
    if args.end: return collect(folder, args.out, base)
    data = {depth: Data(deeper(depth)) for depth in DEPTHS}
    save_json({depth: d.judge(d.codes) for depth,d in data.items()}, folder/"codes.json")
    for name,cls,config,seed in plan():
        place = folder/name/str(seed)
        with mine(place) as free:
            if not free or (place/"result.json").is_file(): continue
            result = one_run(data[config.depth], place, cls, TRAINING, seed, config, (1.,))
            save_json(result, place/"result.json")
        print(name, seed, f"{result['nats']:.1f}", result["cpu_seconds"], flush=True)


if __name__ == "__main__": main()
