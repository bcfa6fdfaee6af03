"""What a model of the emoji draws, and how near it comes to what it was trained on.

emoji_samples.py MODEL JSON PICTURE, such as runs/emoji results/emoji.json results/emoji-samples.png
Adds `samples` to JSON. About one minute of one processor.
"""
import sys

import torch

from dnd_transformer import DnDPipeline
from dnd_transformer.models.colour import nearest_pictures
from dnd_transformer.pictures import make_dataset
from dnd_transformer.sampler import Sampler
from dnd_transformer.toolbox.files import load_json, save_json
from dnd_transformer.toolbox.own_pictures import Shifted, sheet

SETTINGS = [(1., 1.), (.8, 1.), (.8, 2.), (.6, 1.5)]  # temperature, cfg_scale
COUNT, SEED = 128, 1


def decibels(values):
    "How near pictures lie to the nearest of those that were trained on."
    low, middle, high = values.quantile(torch.tensor([.1, .5, .9])).tolist()
    return dict(low=round(low, 2), median=round(middle, 2), high=round(high, 2))


def main(model, out, picture):
    "Draw, compare and save."
    torch.set_num_threads(1)
    pipe, data = DnDPipeline.from_pretrained(model, engine=Sampler), make_dataset("emoji")
    held, known = make_dataset("emoji-held-out"), Shifted(data)
    again = lambda images: pipe.tokenizer.decode(pipe.tokenizer.encode(images)).clamp(-1, 1)
    labels = torch.arange(COUNT) % 8
    drawn = {}
    for temperature,scale in SETTINGS:
        codes = pipe(labels.tolist(), SEED, temperature=temperature, cfg_scale=scale).codes
        drawn[f"samples, T {temperature:g}, scale {scale:g}"] = pipe.tokenizer.decode(codes)
    sets = {k: x.clamp(-1, 1) for k,x in drawn.items()}
    sets |= {"held out": held.images, "held out, reconstructed": again(held.images),
             "trained on, reconstructed": again(data.images[::9])}
    near = {k: nearest_pictures(x, known) for k,x in sets.items()}
    limit = near["held out, reconstructed"][1].quantile(.95)
    rows = [dict(pictures=k, count=len(x), **decibels(near[k][1]),
                 copies=round((near[k][1] > limit).float().mean().item(), 3))
            for k,x in sets.items()]
    save_json(load_json(out) | dict(samples=dict(seed=SEED, limit=round(limit.item(), 2),
                                                 rows=rows)), out)
    show(sets, near, data.classes).save(picture)


def show(sets, near, classes):
    "Sixteen samples of each of three settings; under those of the last, the nearest pictures."
    rows, names = [], []
    order = torch.arange(16).view(2, 8).T.flatten()  # the two of a class beside each other
    for name in list(sets)[:len(SETTINGS)]:
        rows.append(sets[name][order])
        names += [classes[k % 8] for k in order]
        if name == list(sets)[len(SETTINGS)-1]:
            rows.append(near[name][0][order])
            names += ["nearest"]*16
    return sheet(torch.cat(rows), names, ncol=16)


if __name__ == "__main__": main(*sys.argv[1:])
