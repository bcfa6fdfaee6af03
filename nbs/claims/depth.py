"""Tokenizers that differ in their quantizer alone: depth.py OUT [--seeds N] [--data NAME ...]

Every run is kept in OUT (JSON) as soon as it is done, pictures of the first seed in the folder
beside it; the same command again goes on with the runs that are missing. One thread.
"""
import argparse, math, subprocess, time
from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path

import torch

from dnd_transformer.evaluation.extractors import load_extractor
from dnd_transformer.fidelity import feature_statistics, frechet_distance
from dnd_transformer.ocr import ocr_scores
from dnd_transformer.pictures import Digits, WordImages
from dnd_transformer.tokenizer import Tokenizer, TokenizerConfig
from dnd_transformer.tokenizer_training import TokenizerTraining, evaluate_tokenizer
from dnd_transformer.tokenizer_training import tokenizer_step
from dnd_transformer.toolbox.batches import batch_indices, stack
from dnd_transformer.toolbox.files import count_params, load_json, machine, save_json, set_seed
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
STEPS = {"words": 450, "digits": 240}
SETTINGS = {"depth 1": dict(depth=1), "depth 2": dict(depth=2), "depth 4": dict(depth=4),
            "depth 8": dict(depth=8), "4096 entries": dict(codebook_size=4096),
            "finer grid": dict(patch=.5)}
LONGER = ("depth 1", "depth 8", "4096 entries", "finer grid")  # Once more, three times as long
READ, SHOWN = 48, 6  # Held-out words that are read; held-out pictures that are kept


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


def train(config, images, recipe):
    "A tokenizer from nothing, and its reconstruction error at every step."
    set_seed(recipe.seed)
    tok, curve = Tokenizer(config).train(), []
    optimizer = torch.optim.Adam(tok.parameters(), recipe.lr, recipe.betas)
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
                last_quarter=last_quarter(curve), **found, training_cpu_seconds=seconds,
                cpu_seconds=time.process_time()-start, date=str(date.today()))


def wanted(datasets, seeds):
    "Every run, seed after seed, so that an early end leaves whole comparisons."
    plan = [(d, s, seed, 1) for seed in range(seeds) for d in datasets for s in SETTINGS]
    return plan+[("digits", s, 0, 3) for s in LONGER if "digits" in datasets]


def commit():
    "Which version of the project this is."
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
                         cwd=Path(__file__).parent)
    return git.stdout.strip() or None


def keep(path, **new):
    "Add runs, or other entries, to the results; another process may have added some meanwhile."
    kept = load_json(path) if path.is_file() else dict(runs=[])
    kept["runs"] += new.pop("runs", [])
    save_json(kept | new, path)
    return kept


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", nargs="+", choices=list(COARSE), default=list(COARSE))
    args = parser.parse_args()
    torch.set_num_threads(1)
    kept = keep(args.out, about=dict(network=NETWORK, recipe=RECIPE, read=READ))
    done = {tuple(r[k] for k in ("data", "setting", "seed", "factor")) for r in kept["runs"]}
    if "words" in args.data and "reader" not in kept:
        _, held, texts = pictures("words")
        keep(args.out, reader=ocr_scores(held[:READ], texts[:READ], reader()))
    for key in (k for k in wanted(args.data, args.seeds) if k not in done):
        row = run(*key, args.out.with_suffix(""))
        keep(args.out, runs=[row | dict(machine=machine("cpu"), commit=commit())])
        print(*key, f"{row['psnr'][-1]:.2f} dB, {row['cpu_seconds']:.0f} s", flush=True)


if __name__ == "__main__": main()
