"""Five ways to predict a stack of codes: two_dimensions.py OUT [--runs FOLDER] [--end]

Several processes may work at once: each takes a run that is neither finished nor in another's
hands, and a training that was cut off goes on. With --end, when all is done, OUT is written.
"""
import argparse, fcntl, statistics, time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import TensorDataset
from torch.utils.flop_counter import FlopCounterMode

from dnd_transformer.blocks import rope_table
from dnd_transformer.evaluation.extractors import load_extractor
from dnd_transformer.fidelity import feature_statistics, frechet_distance
from dnd_transformer.models.checkpoints import load_tokenizer
from dnd_transformer.ocr import word_share
from dnd_transformer.pictures import WordImages
from dnd_transformer.sampling import draw_code, image_uniforms
from dnd_transformer.toolbox.claims import save_claim, verdict
from dnd_transformer.toolbox.files import count_params, load_json, save_json, set_seed
from dnd_transformer.toolbox.images import to_uint8
from dnd_transformer.toolbox.reading import RapidReader
from dnd_transformer.toolbox.transformer_settings import TRANSFORMER_TRAININGS
from dnd_transformer.training import train_transformer
from dnd_transformer.transformer import TRANSFORMERS, DnDTransformer


class Structure(DnDTransformer):
    "Shares blocks, tables and heads; a subclass says how a pass reads a stack of codes off."
    def __init__(self, config):
        super().__init__(config)
        self.slot = nn.Embedding(config.depth, config.dim)  # "you are code d of the stack"
        nn.init.normal_(self.slot.weight, std=config.embed_std)

    def through(self, blocks, h, rope, caches=None):
        for block in blocks: h = block(h, rope, None if caches is None else caches[block])
        return h

    def hidden_by_depth(self, codes, labels):  # training: all positions, told the true codes
        climb, told = self.climb(self.embed(codes, labels), self.rope[:-1]), None
        for d in range(self.config.depth):
            yield climb.send(told)
            told = codes[...,d].long().flatten(1)

    def next_input(self, stack): return self.tok_embeddings(stack).sum(-2)


class DnD(Structure):
    def climb(self, h, rope, caches=None):
        for blocks in self.segments:
            h = self.through(blocks, h, rope, caches)
            told = yield h                            # the head reads code d, and is told it
            h = h+self.tok_embeddings(told)


class Vertical(Structure):
    def climb(self, h, rope, caches=None):
        for blocks in self.segments:
            h = self.through(blocks, h, rope, caches)
            yield h                                   # nobody listens to the answer


class Parallel(Structure):
    def climb(self, h, rope, caches=None):
        h = self.through(self.layers, h, rope, caches)
        for _ in range(self.config.depth): yield h


class DepthTransformer(Structure):
    def __init__(self, config):
        super().__init__(config)
        turn = rope_table((1, config.depth), config.dim//config.n_head)[1:]
        self.register_buffer("turn", turn, persistent=False)

    def climb(self, h, rope, caches=None):
        h = self.through(self.layers[:-1], h, rope, caches)
        x, own = h.reshape(-1, 1, h.shape[-1]), defaultdict(Cache)  # a sequence per position
        for d, turn in enumerate(self.turn.split(1)):
            x = self.through(self.layers[-1:], x+self.slot.weight[d], turn, own)
            told = yield x.view(h.shape)
            x = self.tok_embeddings(told).view(x.shape)


class Flat(Structure):
    def angles(self):  # four codes stand side by side where one stack stood
        (rows, columns), c = self.config.grid, self.config
        return rope_table((rows, columns*c.depth), c.dim//c.n_head, c.rope_base)

    def hidden_by_depth(self, codes, labels):  # training: all codes in one sequence
        start, told = self.cls_embedding(labels), self.tok_embeddings(codes.long().flatten(1))
        h = torch.cat([start[:,None], told[:,:-1]], 1).unflatten(1, (-1, self.config.depth))
        h = (h+self.slot.weight).flatten(1, 2)
        h = self.through(self.layers, h, self.rope[:-1])
        yield from h.unflatten(1, (-1, self.config.depth)).unbind(2)

    def climb(self, h, rope, caches):  # sampling: one pass for each code of a position
        for d, turn in enumerate(rope.split(1)):
            told = yield self.through(self.layers, h+self.slot.weight[d], turn, caches)
            h = self.tok_embeddings(told)

    def next_input(self, stack): return self.tok_embeddings(stack[...,-1])


class Cache:
    "Keys and values so far; gradients pass."
    def append(self, k, v):
        if hasattr(self, "k"): k, v = torch.cat([self.k, k], 2), torch.cat([self.v, v], 2)
        self.k, self.v = k, v
        return k, v


@torch.no_grad()
def draw(model, uniforms, temperature=1.):
    "Codes `(n, h, w, depth)` from random numbers `(n, h*w, depth)`; one loop for all structures."
    n, positions, depth = uniforms.shape
    codes, caches = torch.zeros(n, positions, depth).long(), defaultdict(Cache)
    h = model.cls_embedding(torch.zeros(n).long())[:,None]
    for t, rope in enumerate(model.rope[:-1].chunk(positions)):
        climb, told = model.climb(h, rope, caches), None
        for d in range(depth):
            logits = model.head(d, climb.send(told))[:,0]
            codes[:,t,d] = draw_code(logits, uniforms[:,t,d], temperature)
            told = codes[:,t:t+1,d]
        h = model.next_input(codes[:,t:t+1])
    return codes.unflatten(1, model.config.grid)


STRUCTURES = {"parallel": Parallel, "vertical": Vertical, "DnD": DnD,
              "depth transformer": DepthTransformer, "1D": Flat}
LAST = {"1D": 1, "depth transformer, equal compute": 2}
WORDS, CONFIG = 48, replace(TRANSFORMERS["words"], dim=96)
TRAINING = replace(TRANSFORMER_TRAININGS["words"], steps=300, batch_size=16, lr=2e-3)
SEEDS, SAMPLES, TEMPERATURES = (0, 1, 2), 64, (1., .7, .4)


def flops(cls, config=CONFIG):
    "Multiplications and additions of one training image, forwards."
    codes, label = torch.zeros(1, *config.grid, config.depth).long(), torch.zeros(1).long()
    with FlopCounterMode(display=False) as counter, torch.no_grad(): cls(config)(codes, label)
    return counter.get_total_flops()


def plan():
    "What to train: name, class, training, seed; the slowest last."
    todo = [(k, cls, TRAINING) for k,cls in STRUCTURES.items()]
    for k in ("depth transformer", "1D"):
        todo.append((f"{k}, equal compute", STRUCTURES[k], same_compute(STRUCTURES[k])))
    return sorted(((*t, seed) for seed in SEEDS for t in todo), key=lambda t: LAST.get(t[0], 0))


def same_compute(cls):
    "As many operations as DnD spends: as many steps, with a smaller batch."
    return replace(TRAINING, batch_size=round(flops(DnD)/flops(cls)*TRAINING.batch_size))


class Data:
    "Codes of the first words and of the others, and what judges samples."
    def __init__(self, tok=None):
        everything, self.tok = WordImages().words, tok or load_tokenizer("words")
        self.words = everything[:WORDS]
        self.codes, self.others = (self.tok.encode(WordImages(w).images)
                                   for w in (self.words, everything[WORDS:]))
        self.reader, self.extract = RapidReader(), load_extractor("random-conv-64")
        self.statistics = self.features(self.codes)
        self.pairs = TensorDataset(self.codes, torch.zeros(WORDS).long())

    def images(self, codes): return self.tok.decode(codes).clamp(-1, 1)

    def features(self, codes):
        pictures = to_uint8(self.images(codes)).expand(-1, 3, -1, -1)
        return feature_statistics(self.extract(pictures)["features"])

    def judge(self, codes):
        "Read as words, exactly the codes of a word, Fréchet distance to the words."
        read = word_share(self.reader(self.images(codes)), self.words)
        exact = (codes[:,None] == self.codes[None]).flatten(2).all(2).any(1).float().mean().item()
        distance = frechet_distance(*self.features(codes), *self.statistics)
        return dict(read, exact=exact, distance=distance)


@torch.no_grad()
def nats(model, codes):
    "Mean nats per image at each depth."
    losses = model.depth_losses(codes, torch.zeros(len(codes)).long())
    return (losses*model.config.n_positions).tolist()


@contextmanager
def clock(path):
    "Add the processor's seconds to those of earlier, interrupted attempts."
    before, start = load_json(path) if path.is_file() else 0., time.process_time()
    try: yield
    finally: save_json(before+time.process_time()-start, path)


def one_run(data, folder, cls, settings, seed, config=CONFIG, temperatures=TEMPERATURES):
    "Train and judge one model; a training that was cut off goes on."
    set_seed(seed)
    model, settings, place = cls(config), replace(settings, seed=seed), folder/"training"
    with clock(folder/"cpu.json"):
        train_transformer(model, data.pairs, settings, place, resume=True, keep=1)
    start, by_depth = time.process_time(), nats(model, data.codes)
    uniforms = image_uniforms(seed, range(SAMPLES), config)
    drawn = {str(t): draw(model, uniforms, t) for t in temperatures}
    samples = {t: data.judge(codes) for t,codes in drawn.items()}
    shown = [bytes(codes.flatten().tolist()).hex() for codes in drawn["1.0"][:8]]
    return dict(seed=seed, steps=settings.steps, batch_size=settings.batch_size,
                parameters=count_params(model), flops=flops(cls, config),
                nats=sum(by_depth), nats_by_depth=by_depth,
                nats_other_words=sum(nats(model, data.others)), samples=samples, drawn=shown,
                cpu_seconds=dict(training=load_json(folder/"cpu.json"),
                                 judging=time.process_time()-start))


def seconds(model, n):
    "Of the processor, for each of `n` images that are drawn at once."
    start = time.process_time()
    draw(model, torch.rand(n, CONFIG.n_positions, CONFIG.depth))
    return (time.process_time()-start)/n


def costs(rounds=5):
    "What an image costs; all structures draw in turn, so that a busy machine slows all of them."
    models, blocks = {k: cls(CONFIG).eval() for k,cls in STRUCTURES.items()}, defaultdict(list)
    times = {k: {"1": [], "64": []} for k in models}
    for k,model in models.items():
        hooks = [b.register_forward_hook(lambda *_, k=k: blocks[k].append(1)) for b in model.layers]
        seconds(model, 1)  # warms up, and counts the blocks that run one after the other
        for hook in hooks: hook.remove()
    for _ in range(rounds):
        for k,model in models.items():
            for n in times[k]: times[k][n].append(seconds(model, int(n)))
    return {k: dict(blocks=len(blocks[k]), seconds={n: statistics.median(v) for n,v in t.items()})
            for k,t in times.items()}


@contextmanager
def mine(place):
    "Whether no other process works in this folder; a process that ends gives its folder back."
    place.mkdir(parents=True, exist_ok=True)
    with open(place/"lock", "w") as f:
        try: fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError: yield False
        else: yield True


RIVALS = ("parallel", "vertical", "1D", "1D, equal compute")
BEYOND = ("depth transformer", "depth transformer, equal compute")


def outcome(ours, theirs):
    "The rule for one measure, higher is better: are the seeds apart?"
    if min(ours) > max(theirs): return "better"
    return "worse" if max(ours) < min(theirs) else "open"


def compare(runs, rival, ours="DnD"):
    "The rule for one rival: the outcomes of both measures, and who wins."
    measures = dict(nats=lambda run: -run["nats"], share=lambda run: run["samples"]["1.0"]["share"])
    found = {k: outcome(*([f(run) for run in runs[name]] for name in (ours, rival)))
             for k,f in measures.items()}
    signs = sum({"better": 1, "worse": -1, "open": 0}[o] for o in found.values())
    return dict(found, winner=ours if signs > 0 else rival if signs < 0 else "open")


def word(runs, rivals):
    "The rule for a claim: DnD against all these rivals that have been run."
    rivals = [k for k in rivals if k in runs]
    shares = [run["samples"]["1.0"]["share"] for name in ("DnD", *rivals) for run in runs[name]]
    winners = [compare(runs, rival)["winner"] for rival in rivals]
    won, lost = winners.count("DnD"), sum(w in rivals for w in winners)
    if max(shares) < .1 or not won+lost: return "cannot be told at this scale"
    if won == len(rivals): return "holds"
    return "holds in part" if won else "does not hold"


def shares(runs, names):
    "How many samples at temperature 1 are read as words, in a sentence."
    found = {k: [100*run["samples"]["1.0"]["share"] for run in runs[k]] for k in names if k in runs}
    each = (f"{k} {statistics.mean(v):.0f} % ({min(v):.0f} to {max(v):.0f})"
            for k,v in found.items())
    return f"Samples read as words, 3 seeds: {'; '.join(each)}."


def judged(results):
    "The verdicts, by the rule on the page."
    runs = results["runs"]
    return [
        verdict("DnD is better than parallel heads, vertical heads and one long sequence.",
                "Table 3: FID 2.58 against 6.32, 3.18 and 4.12.",
                shares(runs, ("DnD", *RIVALS)), word(runs, RIVALS)),
        verdict("DnD is better than a small transformer that goes through each stack.",
                "The abstract sets it apart from the RQ-Transformer; there is no comparison.",
                shares(runs, ("DnD", *BEYOND)), word(runs, BEYOND))]


def collect(folder, out):
    "What has been run with all seeds, what it means, and what it costs, in one file."
    found = defaultdict(list)
    for path in sorted(folder.rglob("result.json")):
        found[path.parent.parent.name].append(load_json(path))
    found = {k: v for k,v in found.items() if len(v) == len(SEEDS)}
    results = dict(words=WORDS, config=asdict(CONFIG), training=asdict(TRAINING), samples=SAMPLES,
                   words_themselves=load_json(folder/"words.json"),
                   cost=load_json(folder/"cost.json"), runs=found)
    cpu = sum(sum(run["cpu_seconds"].values()) for runs in found.values() for run in runs)
    save_claim(out, "claims/two_dimensions.ipynb", judged(results), SEEDS, cpu, **results)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("out")
    ap.add_argument("--runs", default="runs/claims/two_dimensions", help="what is done so far")
    ap.add_argument("--end", action="store_true", help="all runs are done: write OUT")
    args = ap.parse_args()
    torch.set_num_threads(1)
    folder = Path(args.runs)
    if args.end:
        save_json(costs(), folder/"cost.json")
        return collect(folder, args.out)
    data = Data()
    save_json(data.judge(data.codes), folder/"words.json")
    for name,cls,training,seed in plan():
        place = folder/name/str(seed)
        with mine(place) as free:
            if not free or (place/"result.json").is_file(): continue
            result = one_run(data, place, cls, training, seed)
            save_json(result, place/"result.json")
        print(name, seed, f"{result['nats']:.1f}", result["cpu_seconds"], flush=True)


if __name__ == "__main__": main()
