"""Short trainings of tokenizers on sets of small colour pictures: which settings suit them?

python nbs/models/pictures_search.py results/pictures.json emoji FOLDER ...
The first row of a set is residual k-means on patches, without a network. Each trial of a network
gets the same CPU seconds on one thread. Results are added to the file, and trials that
are in it already are left out, so the same command goes on where it was stopped."""
import sys
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import torch
from torch.utils.data import Dataset

from dnd_transformer.models.colour import code_patches
from dnd_transformer.pictures import make_dataset
from dnd_transformer.tokenizer import Tokenizer
from dnd_transformer.tokenizer_training import evaluate_tokenizer, train_tokenizer
from dnd_transformer.toolbox.batches import stack
from dnd_transformer.toolbox.files import count_params, load_json, machine, save_json, set_seed
from dnd_transformer.toolbox.images import psnr, to_uint8
from dnd_transformer.toolbox.own_pictures import Shifted
from dnd_transformer.toolbox.tokenizer_settings import TOKENIZER_TRAININGS, TOKENIZERS

SECONDS, SEED = 40, 0
BASE = replace(TOKENIZERS["digits"], resolution=(32, 32), image_channels=3)
RECIPE = replace(TOKENIZER_TRAININGS["digits"], batch_size=16, seed=SEED)
EIGHT = dict(patch=4, multipliers=(1,))  # a grid of 8x8 positions
FOUR = dict(patch=4, multipliers=(1, 1))  # a grid of 4x4
YARDSTICK = "8x8x4 of 256, k-means"
TRIALS = {
    "4x4x8 of 1024": FOUR | dict(depth=8, codebook_size=1024),
    "8x8x3 of 256": EIGHT | dict(depth=3, codebook_size=256),
    "8x8x3 of 256, fast averages": EIGHT | dict(depth=3, codebook_size=256, decay=.9),
    "8x8x3 of 256, fast averages, batches of 4": EIGHT | dict(
        depth=3, codebook_size=256, decay=.9, batch_size=4),
    "8x8x3 of 256, batches of 4, rate 1e-3": EIGHT | dict(
        depth=3, codebook_size=256, batch_size=4, lr=1e-3),
    "8x8x3 of 256, batches of 4, rate 4e-3": EIGHT | dict(
        depth=3, codebook_size=256, batch_size=4, lr=4e-3),
}

class Part(Dataset):
    "A few pictures in memory."
    def __init__(self, dataset, items):
        self.images, self.labels = stack([dataset[i] for i in items])
        self.classes = dataset.classes

    def __len__(self): return len(self.images)
    def __getitem__(self, i): return self.images[i], self.labels[i].item()

def parts(name):
    "The pictures to train on, in ten versions each, and every tenth picture, held out."
    if name == "emoji": train, held = (make_dataset(n) for n in ("emoji", "emoji-held-out"))
    else:
        whole = make_dataset(name, size=32, channels=3)
        train, held = (Part(whole, [i for i in range(len(whole)) if (i%10 == 9) == out])
                       for out in (False, True))
    return Shifted(train), held.images

def train(config, recipe, data):
    set_seed(recipe.seed)
    tok, start = Tokenizer(config), time.process_time()
    train_tokenizer(tok, data, recipe, keys=())
    return tok, time.process_time()-start

def trial(settings, data, held):
    fields = {k: v for k,v in settings.items() if hasattr(RECIPE, k)}
    config = replace(BASE, **{k: v for k,v in settings.items() if k not in fields})
    recipe = replace(RECIPE, **fields)
    train(config, replace(recipe, steps=1), data)
    _, few = train(config, replace(recipe, steps=4), data)
    tok, seconds = train(config, replace(recipe, steps=int(SECONDS/few*4)), data)
    found, seen = (evaluate_tokenizer(tok, x) for x in (held, stack(data, 500)[0]))
    return dict(steps=int(SECONDS/few*4), cpu_seconds=round(seconds, 1), grid=config.grid,
                depth=config.depth, codebook_size=config.codebook_size, params=count_params(tok),
                held_out_db=[round(p, 2) for p in found["psnr"]],
                training_db=round(seen["psnr"][-1], 2),
                perplexity=[round(p, 1) for p in found["perplexity"]])

def yardstick(data, held):
    start = time.process_time()
    drawn = code_patches(stack(data.dataset)[0], held)
    decibels = [psnr(to_uint8(x), to_uint8(held)).mean().item() for x in drawn]
    return dict(cpu_seconds=round(time.process_time()-start, 1), grid=(8, 8), depth=4,
                codebook_size=256, held_out_db=[round(p, 2) for p in decibels])

def main(out, *names):
    torch.set_num_threads(1)
    path = Path(out)
    rows = load_json(path)["trials"] if path.is_file() else []
    made = dict(date=date.today().isoformat(), **machine(torch.device("cpu")))
    for name in names:
        short = Path(name).name
        done = {r["settings"] for r in rows if r["pictures"] == short}
        missing = [t for t in (YARDSTICK, *TRIALS) if t not in done]
        data, held = parts(name) if missing else (None, None)
        for t in missing:
            result = trial(TRIALS[t], data, held) if t in TRIALS else yardstick(data, held)
            rows.append(dict(pictures=short, count=len(data)//10, settings=t, seed=SEED, **result))
            save_json(dict(made=made, trials=rows), path)
            print(short, t, result["held_out_db"][-1], flush=True)

if __name__ == "__main__": main(*sys.argv[1:])
