"""A small training, killed again and again: killed_runs.py RESULTS FOLDER

Two runs of 20 steps under FSDP, each compared with one that nobody disturbed:

- `in turn`: 1, 2, 3 and 2 processes in turn, killed at random moments, five times with each number;
  in float64, without dropout;
- `saving`: always 2 processes, killed ten times in the middle of a save that is going on beside the
  training; in float32, with dropout.

FOLDER keeps the runs and what was counted, so that this program itself may be stopped.
"""
import json, multiprocessing, os, random, resource, socket, sys, time
from dataclasses import replace
from datetime import date
from pathlib import Path

import torch
from torch.utils.data import TensorDataset

from dnd_transformer.toolbox import slices
from dnd_transformer.toolbox.checkpoints import Checkpoints
from dnd_transformer.toolbox.files import load_json, machine, save_json, set_seed
from dnd_transformer.toolbox.processes import processes, rank
from dnd_transformer.toolbox.transformer_settings import TRANSFORMERS
from dnd_transformer.training import TransformerTraining, train_transformer
from dnd_transformer.transformer import DnDTransformer

STEPS, PAUSE = 20, .4
CODES = torch.randint(16, (60, 2, 3, 4), generator=torch.Generator().manual_seed(0))
CONFIG = replace(TRANSFORMERS["digits"], dim=32, n_head=2, codebook_size=16, grid=(2, 3), depth=4,
                 n_layer=4, head_layers=None, class_dropout=0.)
RECIPE = TransformerTraining(STEPS, 12, 1e-3, 4, ema_decay=.9, accumulate=2, parallel="fsdp")


class Slow(TensorDataset):
    "Leaves time for a kill in every step, and says that the steps have begun."
    began, calls = None, 0
    def __getitem__(self, i):
        self.calls += 1  # the first is the look of `check_data`, the third comes after a step
        if self.began and self.calls > 1: time.sleep(PAUSE)
        if self.began and self.calls > 2 and rank() == 0: self.began.touch()
        return super().__getitem__(i)


def slow_pieces(tensors, pieces=slices._pieces):
    for piece in pieces(tensors):
        time.sleep(.005)
        yield piece


def life(folder, kind, slow):
    "One process of a run that goes on from what is there."
    folder, torch_kind = Path(folder), torch.float64 if kind == "in turn" else torch.float32
    if slow == "saves": slices._pieces = slow_pieces
    with processes("cpu"):
        set_seed(len(os.listdir(folder.parent)))  # the checkpoint must bring the right state
        torch.manual_seed(0)
        model = DnDTransformer(replace(CONFIG, token_dropout=0. if kind == "in turn" else .1))
        data = Slow(CODES, torch.arange(60) % 10)
        data.began = folder.parent/f"{folder.name}.began" if slow else None
        train_transformer(model.to(torch_kind), data, RECIPE, folder, "cpu", resume=True,
                          save_every=1, log_every=1, keys=())


def child(rank, n, port, args):
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT=str(port), WORLD_SIZE=str(n),
                      RANK=str(rank), LOCAL_RANK=str(rank))
    os.dup2(os.open(Path(args[0]).parent/"errors.txt", os.O_APPEND | os.O_CREAT | os.O_WRONLY), 2)
    life(*args)


def start(n, *args):
    "The processes of a life, forked: each has what was imported here, and a state of its own."
    with socket.socket() as s:
        s.bind(("localhost", 0))
        port = s.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    started = [fork.Process(target=child, args=(r, n, port, args)) for r in range(n)]
    for p in started: p.start()
    return started


def ends(life):
    for p in life: p.join()
    return [p.exitcode for p in life]


def finish(n, *args):
    codes = ends(start(n, *args))
    assert codes == [0]*n, codes


def in_the_middle(folder):
    "Whether a checkpoint is being written."
    return any(not (p/"checkpoint.json").is_file() for p in folder.glob("step-*"))


def kill(folder, kind, n, moment):
    "One life and its end; the newest whole checkpoint before and after, and whether it was saving."
    began = folder.parent/f"{folder.name}.began"
    began.unlink(missing_ok=True)
    before, saving = steps_saved(folder), kind == "saving"
    life = start(n, folder, kind, "saves" if saving else "steps")
    def alive(): return all(p.is_alive() for p in life)
    if saving or moment.random() < .8:  # otherwise while it starts
        while alive() and not began.exists(): time.sleep(.02)
        if moment.random() < .5:  # else a slow machine would never get ahead
            while alive() and steps_saved(folder) <= before: time.sleep(.02)
        time.sleep(moment.uniform(0, 2*PAUSE))
        while saving and alive() and not in_the_middle(folder): time.sleep(.002)
        time.sleep(moment.uniform(0, .1) if saving else 0)
    else: time.sleep(moment.uniform(0, 4))
    middle = in_the_middle(folder)
    for p in life: p.kill()
    killed = set(ends(life)) == {-9}
    return dict(processes=n, before=before, after=steps_saved(folder), saving=middle, killed=killed)


def steps_saved(folder): return max((e["step"] for e in Checkpoints(folder).entries), default=0)


def everything(folder):
    "All tensors of the newest checkpoint, and the logged losses."
    path = folder/Checkpoints(folder).entries[-1]["folder"]
    table = load_json(path/"slices.json")
    tensors = {k: slices.target(saved) for k,saved in table.items() if "random" not in k}
    slices.read_slices(tensors, path, table)
    rows = [json.loads(line) for line in (folder/"log.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows] == [*range(1, STEPS+1)]
    return tensors, torch.tensor([r["loss"] for r in rows], dtype=torch.float64)


def compare(a, b):
    (a, losses), (b, losses2) = everything(a), everything(b)
    assert a.keys() == b.keys()
    apart = max((a[k].double()-b[k].double()).abs().max().item() for k in a)
    return dict(apart=apart, losses_apart=(losses-losses2).abs().max().item(),
                identical=all(torch.equal(a[k], b[k]) for k in a) and torch.equal(losses, losses2))


def disturbed(top, kind, numbers, seed):
    "A run that is killed once for each of `numbers`, and then ends; every kill is kept."
    folder, state = top/kind, top/f"{kind}.json"
    kills = load_json(state) if state.is_file() else []
    while len(kills) < len(numbers):
        last = kill(folder, kind, numbers[len(kills)], random.Random(seed+len(kills)))
        assert last["killed"], "a process ended on its own, see errors.txt"
        kills.append(last)
        save_json(kills, state)
        print(kind, last, flush=True)
    finish(numbers[-1], folder, kind, "")
    return kills


def main(results, top):
    top.mkdir(parents=True, exist_ok=True)
    started = resource.getrusage(resource.RUSAGE_CHILDREN)
    runs = {"in turn": ([1]*5+[2]*5+[3]*5+[2]*5, 1), "saving": ([2]*10, 2)}
    for seed,(kind,(numbers,alone)) in enumerate(runs.items()):
        finish(alone, top/f"undisturbed {kind}", kind, "")
        kills = disturbed(top, kind, numbers, 100*seed)
        report = dict(date=date.today().isoformat(), **machine("cpu"), steps=STEPS, kills=kills,
                      **compare(top/f"undisturbed {kind}", top/kind))
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        report["cpu_seconds"] = round(used.ru_utime+used.ru_stime-started.ru_utime-started.ru_stime)
        known = load_json(results) if results.is_file() else {}
        save_json({**known, f"killed {kind}": report}, results)
        print(kind, {k: v for k,v in report.items() if k != "kills"}, flush=True)


if __name__ == "__main__": main(Path(sys.argv[1]), Path(sys.argv[2]))
