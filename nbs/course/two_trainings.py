"One training, alone and in two processes; started by `launch` on the page `training`."
import json, os, sys
from dataclasses import replace
from pathlib import Path

import torch
from torch.utils.data import TensorDataset

from dnd_transformer.models.generation import DrawRequest, draw_codes
from dnd_transformer.toolbox.files import set_seed
from dnd_transformer.toolbox.processes import full_tensor, processes, rank
from dnd_transformer.toolbox.transformer_settings import TRANSFORMERS
from dnd_transformer.training import TransformerTraining, train_transformer, validation_loss
from dnd_transformer.transformer import DnDTransformer

torch.set_num_threads(1)
CODES = torch.randint(16, (64, 2, 3, 4), generator=torch.Generator().manual_seed(0))
DATA = TensorDataset(CODES, torch.arange(64) % 10)
CONFIG = replace(TRANSFORMERS["digits"], dim=32, n_head=2, codebook_size=16, grid=(2, 3), depth=4,
                 n_layer=4, head_layers=None, class_dropout=0.)
RECIPE = TransformerTraining(20, 16, 1e-3, 4, ema_decay=.9, accumulate=2)


class Ends(TensorDataset):
    "Gives eleven batches, after the look of `check_data`, and then an error."
    calls = 0
    def __getitem__(self, i):
        self.calls += 1
        if self.calls > 12: raise OSError("power cut")
        return super().__getitem__(i)


def evaluate(model):
    drawn = draw_codes(model, range(2), DrawRequest(greedy=True))
    return dict(valid=validation_loss(model, DATA), drawn=drawn.double().mean().item())


def train(folder, parallel="ddp", data=DATA, resume=False):
    "Weights of a run of twenty steps, in float64."
    set_seed(0)
    model = DnDTransformer(CONFIG).double()
    train_transformer(model, data, replace(RECIPE, parallel=parallel), folder, "cpu", evaluate,
                      resume=resume, save_every=5, keys=())
    return torch.cat([full_tensor(p).flatten() for p in model.parameters()])


def evaluations(folder):
    rows = map(json.loads, (folder/"log.jsonl").read_text().splitlines())
    return torch.tensor([[r["valid"], r["drawn"]] for r in rows if "valid" in r]).double()


def main(top):
    mine = top/os.environ["RANK"]  # what each process does alone
    alone, weights = train(mine/"alone"), {}
    with processes("cpu"):
        for parallel in ("ddp", "fsdp"): weights[parallel] = train(top/parallel, parallel)
        try: train(top/"cut", "fsdp", Ends(*DATA.tensors))
        except OSError: pass
        else: raise AssertionError("the run should have ended early")
        first = rank() == 0
    if not first: return
    weights["fsdp cut off, then one process"] = train(top/"cut", resume=True)
    apart = {k: (w-alone).abs().max().item() for k,w in weights.items()}
    seen = evaluations(mine/"alone")
    for folder in ("ddp", "fsdp", "cut"):
        apart[f"{folder}, evaluations"] = (evaluations(top/folder)-seen).abs().max().item()
    assert len(seen) == 4 and max(apart.values()) < 1e-9, apart
    print(*(f"{k}: {v:.0e}" for k,v in apart.items()), sep="\n")


main(Path(sys.argv[1]))
