"""What Python draws for the random numbers of the playground: expected.py PLAYGROUND FILE

`test.mjs` and `test_browser.mjs` compare the codes and pictures of JavaScript with this file.
"""
import sys
from pathlib import Path

import torch

from dnd_transformer.models.checkpoints import load_tokenizer, load_transformer
from dnd_transformer.models.onnx import browser_uniforms
from dnd_transformer.pictures import make_dataset
from dnd_transformer.sampling import draw_code, generate
from dnd_transformer.toolbox.files import save_json
from dnd_transformer.toolbox.images import to_uint8

SEEDS = 12
WAYS = [dict(greedy=True), dict(), dict(temperature=.5, top_p=.9)]
GUIDED = [dict(cfg_scale=2.), dict(cfg_scale=3., temperature=.7, top_p=.8)]
# Names of the settings in JavaScript
NAMES = dict(cfg_scale="guidance", temperature="temperature", top_p="topP", greedy="greedy")


@torch.no_grad()
def complete(model, labels, kept, uniforms, **how):
    "Draw what comes after the positions in `kept`, without a cache: the whole model for each code."
    c, n = model.config, kept.shape[1]
    codes = torch.zeros(len(kept), c.n_positions, c.depth, dtype=torch.long)
    codes[:,:n] = kept
    for t in range(n, c.n_positions):
        for d in range(c.depth):
            logits = model(codes.unflatten(1, c.grid), labels)[:,t,d]
            codes[:,t,d] = draw_code(logits, uniforms[:,t,d], **how)
    return codes


def case(seed, label, uniforms, codes, kept, how):
    options = {NAMES[k]: v for k,v in how.items()}
    return dict(seed=seed, label=label, options=options, uniforms=uniforms.flatten().tolist(),
                codes=codes.flatten().tolist(), kept=kept.flatten().tolist())


def cases(model, pictures, tok):
    "Drawings for every seed and way; then completions of pictures."
    c, seeds = model.config, range(SEEDS)
    labels = torch.tensor([s % c.num_classes for s in seeds])
    u = torch.cat([browser_uniforms(s, c) for s in seeds])
    for how in WAYS+(GUIDED if c.class_dropout else []):
        drawn, none = generate(model, labels, uniforms=u, **how), torch.tensor([])
        yield from (case(s, int(labels[s]), u[s], drawn[s], none, how) for s in seeds)
    kept = tok.encode(pictures).flatten(1, 2)[:,:c.n_positions//2,:c.depth]
    u, labels = u[:len(kept)], labels[:len(kept)]
    drawn, how = complete(model, labels, kept, u, temperature=.5), dict(temperature=.5)
    yield from (case(s, int(labels[s]), u[s], drawn[s], kept[s], how) for s in range(len(kept)))


def of_model(name):
    model, tok = load_transformer(name), load_tokenizer(name)
    data = make_dataset(name)
    pictures = torch.stack([data[i][0] for i in range(4)])
    codes = tok.encode(pictures)
    decoded = [to_uint8(tok.decode(codes, depth=d+1)).flatten(1).tolist()
               for d in range(codes.shape[-1])]
    return dict(cases=list(cases(model, pictures, tok)), decoded=decoded,
                pictures=to_uint8(pictures).flatten(1).tolist(), codes=codes.flatten(1).tolist())


if __name__ == "__main__":
    torch.set_num_threads(1)
    built = sorted(p.name for p in Path(sys.argv[1]).glob("models/*"))
    save_json({name: of_model(name) for name in built}, sys.argv[2])
