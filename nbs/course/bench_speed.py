"""Every way to draw, beside `generate`: bench_speed.py OUT [--released FOLDER] [--xxl]

All settings of one size draw in turn, so that a busy machine slows all of them; the medians of
wall time and of processor time are kept. FOLDER is a copy of chenllliang/DnD-Transformer.
"""
import argparse, contextlib, io, os, resource, statistics, sys, time
from datetime import date
from pathlib import Path

import torch
from torch import nn

from dnd_transformer.sampler import Sampler
from dnd_transformer.sampling import generate
from dnd_transformer.toolbox.engines import engines_here
from dnd_transformer.toolbox.fast_weights import FastWeights, made_up
from dnd_transformer.toolbox.files import machine, save_json
from dnd_transformer.transformer import DnDTransformer
from dnd_transformer.toolbox.transformer_settings import TRANSFORMERS, TransformerConfig

WORDS = dict(dim=192, n_layer=6, n_head=4, codebook_size=256, depth=4, head_layers=(2, 3, 4, 5),
             num_classes=1, class_dropout=0.)
B = dict(dim=768, n_layer=12, n_head=12, codebook_size=16384, depth=2, head_layers=(9, 11),
         num_classes=1000, class_dropout=.1)
CASES = {"words, batch 16": (WORDS, 16, 1.), "words, batch 64": (WORDS, 64, 1.),
         "B, batch 1": (B, 1, 1.), "B, batch 1, guided": (B, 1, 2.),
         "B, batch 8, guided": (B, 8, 2.)}


def clocked(call):
    "Seconds on the wall and of all processors."
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter()-wall, time.process_time()-cpu


def alternate(calls, rounds):
    "Medians of seconds, each call once to warm up and then in turn."
    for call in calls.values(): call()
    times = {k: [] for k in calls}
    for _ in range(rounds):
        for k,call in calls.items(): times[k].append(clocked(call))
    return {k: dict(zip(("wall", "cpu"), map(statistics.median, zip(*v)))) for k,v in times.items()}


def floor():
    "What one processor can do in a second of its time: bytes read, multiplications, additions."
    big, a, b = torch.randn(64_000_000), torch.randn(1024, 1024), torch.randn(1024, 1024)
    pieces = [torch.randn(768, 3072) for _ in range(24)]
    x = torch.randn(1, 768)
    read = max(4*big.numel()/clocked(lambda: big.sum())[1] for _ in range(5))
    vectors = max(4*24*768*3072/clocked(lambda: [x@w for w in pieces])[1] for _ in range(5))
    product = max(2*1024**3/clocked(lambda: a@b)[1] for _ in range(5))
    return dict(read=read, read_by_products=vectors, product=product)


def released(folder, model, kw):
    "The released sampler with the weights of `model`, as a function."
    path = str(Path(folder)/"src"/"dnd_transformer")
    sys.path.insert(0, path)
    with contextlib.redirect_stdout(io.StringIO()):
        import generate_multitoken_v3 as sampler
        import gpt_multitoken_v3 as models
    sys.path.remove(path)
    args = models.ModelArgs(
        dim=kw["dim"], n_layer=kw["n_layer"], n_head=kw["n_head"], block_size=64,
        vocab_size=kw["codebook_size"], num_pred_heads=kw["depth"],
        pred_head_positions=list(kw["head_layers"]), num_classes=kw["num_classes"],
        class_dropout_prob=kw["class_dropout"])
    with contextlib.redirect_stdout(io.StringIO()): theirs = models.Transformer(args).eval()
    theirs.load_state_dict(model.state_dict())
    def _draw(labels, scale):
        with torch.no_grad():
            return sampler.generate(theirs, labels, 64, num_prediction_heads=kw["depth"],
                                    cfg_scale=scale, temperature=1., top_k=0, top_p=1.,
                                    sample_logits=True)
    return _draw


def measure(kw, batch, scale, folder, rounds):
    "Seconds of every path for one case."
    torch.manual_seed(0)
    model = DnDTransformer(TransformerConfig(grid=(8, 8), **kw)).eval()
    for o in model.output: nn.init.normal_(o.weight, std=.02)
    labels, guided = torch.arange(batch) % kw["num_classes"], scale != 1
    calls = {"generate": lambda: generate(model, labels, cfg_scale=scale)}
    for how in ("float32", "int8")[:1 if batch > 8 else 2]:
        fast = Sampler(model, weights=how)
        calls[f"eager {how}"] = lambda fast=fast: fast(labels, cfg_scale=scale)
    if kw is WORDS and "inductor" in engines_here("cpu"):  # a large model takes too long to compile
        built = Sampler(model, "inductor")
        built(labels, cfg_scale=scale)  # compiles; how long depends on what is kept from before
        calls["inductor float32"] = lambda: built(labels, cfg_scale=scale)
    fast = Sampler(model)
    calls["streamed"] = lambda: [None for _ in fast.stream(labels, cfg_scale=scale)]
    if folder:
        theirs = released(folder, model, kw)
        calls["released"] = lambda: theirs(labels, scale)
    rows = batch*(1+guided)
    matrices = [p for n,p in model.named_parameters() if p.ndim == 2 and "embedding" not in n]
    numbers = sum(p.numel() for p in matrices)
    times = alternate(calls, rounds)
    return dict(batch=batch, rows=rows, positions=64, numbers=numbers, times=times)


def largest(out):
    "One image of an untrained `imagenet-xxl`, whose weights never exist in more than 8 bits."
    with torch.device("meta"): described = DnDTransformer(TRANSFORMERS["imagenet-xxl"])
    start = time.perf_counter()
    sampler = Sampler(FastWeights(described.config, made_up(described), "int8"))
    made = time.perf_counter()
    codes = sampler(torch.zeros(1).long())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    numbers = sum(p.numel() for p in described.parameters())
    save_json(dict(date=date.today().isoformat(), **machine("cpu"), numbers=numbers,
                   busy=round(os.getloadavg()[0], 1), codes=codes.numel(),
                   seconds_to_make=made-start, seconds=time.perf_counter()-made,
                   peak_kilobytes=peak), out)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("out")
    ap.add_argument("--released", default="")
    ap.add_argument("--rounds", type=int, default=2)
    ap.add_argument("--xxl", action="store_true", help="one image of imagenet-xxl, only")
    args = ap.parse_args()
    if args.xxl: return largest(args.out)
    torch.set_num_threads(1)  # as sets of images are drawn: a process for each core
    flags = Path("/proc/cpuinfo").read_text().split() if os.path.exists("/proc/cpuinfo") else []
    known = sorted({f for f in flags if f.startswith(("avx", "amx", "fma"))})
    about = dict(date=date.today().isoformat(), **machine("cpu"), flags=known,
                 busy=round(os.getloadavg()[0], 1), floor=floor(), cases={})
    for name,case in CASES.items():
        about["cases"][name] = measure(*case, args.released, args.rounds)
        about["peak_kilobytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        save_json(about, args.out)  # what is there counts, should the rest be interrupted


if __name__ == "__main__": main()
