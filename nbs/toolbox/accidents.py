"""Trainings in three processes in which something goes wrong: accidents.py OUT.json [CASE ...]

Each case starts three processes without a launcher, so that nothing but the package ends them; the
last uses torchrun. OUT keeps what was seen; cases that it holds already are not repeated.
"""
import json, math, os, signal, socket, subprocess, sys, tempfile, time
from dataclasses import replace
from datetime import date
from pathlib import Path

N, STEPS, AT = 3, 30, 17  # processes, steps of a run, batch in which it happens
CASES = {  # what happens in process 1, and how the weights are spread
    "undisturbed": (None, "fsdp"),
    "killed, ddp": ("kill", "ddp"),
    "killed, fsdp": ("kill", "fsdp"),
    "SIGTERM": ("term", "fsdp"),
    "file STOP": ("stop", "fsdp"),
    "one bad batch, ddp": ("bad", "ddp"),
    "one bad batch, fsdp": ("bad", "fsdp"),
    "bad from then on": ("worse", "fsdp"),
    "killed under torchrun --max-restarts 1": ("kill", "fsdp"),
}


def train(what, parallel, folder):
    "What one process does; process 1 has the accident."
    import torch
    from dnd_transformer.toolbox.accidents import exchange
    from dnd_transformer.toolbox.files import set_seed
    from dnd_transformer.toolbox.processes import mean_over_ranks, processes, rank
    from dnd_transformer.toolbox.transformer_settings import TRANSFORMERS, TransformerTraining
    from dnd_transformer.training import train_transformer
    from dnd_transformer.transformer import DnDTransformer
    first_try = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"

    class Hurt(DnDTransformer):
        calls = 0
        def depth_losses(self, codes, labels):
            losses = super().depth_losses(codes, labels)
            i, Hurt.calls = Hurt.calls, Hurt.calls+1
            if rank() != 1 or i < AT or not first_try: return losses
            if what and i == AT: Path(folder, "happened").write_text(str(time.time()))
            if what == "kill": os.kill(os.getpid(), signal.SIGKILL)
            if what == "term" and i == AT: os.kill(os.getpid(), signal.SIGTERM)
            if what == "stop": Path(folder, "STOP").touch()
            return losses*(math.inf if what == "worse" or (what == "bad" and i == AT) else 1)

    torch.set_num_threads(1)
    with processes("cpu"):
        set_seed(0)
        config = replace(TRANSFORMERS["digits"], dim=64, class_dropout=0., token_dropout=.1)
        codes = torch.randint(config.codebook_size, (300, *config.grid, config.depth))
        recipe = TransformerTraining(STEPS, 12, 1e-3, 4, ema_decay=.9, parallel=parallel)
        data = torch.utils.data.TensorDataset(codes, torch.arange(300) % 10)
        train_transformer(Hurt(config), data, recipe, folder, "cpu", log_every=5, save_every=6,
                          keys=(), title="run")
        values = {f"loss {d}": torch.ones(()) for d in range(8)}
        took = {}
        for name,send in (("losses", mean_over_ranks), ("losses and flags", exchange)):
            began = time.process_time()
            for _ in range(300): send(values)
            took[name] = 1e6*(time.process_time()-began)/300
        if rank() == 0: Path(folder, "took.json").write_text(json.dumps(took))


def start(case, folder):
    "Start the processes of a case; exit codes, seconds from accident to end, what was said."
    command = [sys.executable, __file__, "train", case, folder]
    with socket.create_server(("localhost", 0)) as s: port = s.getsockname()[1]
    env = dict(os.environ, MASTER_ADDR="localhost", MASTER_PORT=str(port), WORLD_SIZE=str(N),
               OMP_NUM_THREADS="1")
    if "torchrun" in case:
        how = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(N),
               "--max-restarts", "1"]
        done = subprocess.run([sys.executable, *how, *command[1:]], capture_output=True, text=True)
        return [done.returncode], None, done.stderr
    ranks = [subprocess.Popen(command, env=dict(env, RANK=str(r), LOCAL_RANK=str(r)), text=True,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for r in range(N)]
    said = "".join(p.communicate(timeout=600)[1] for p in ranks)
    happened = Path(folder, "happened")
    seconds = time.time()-float(happened.read_text()) if happened.is_file() else None
    return [p.returncode for p in ranks], seconds, said


def state_of(folder):
    "Every slice of the last checkpoint, bit for bit, and the log without what the clock says."
    from dnd_transformer.toolbox.checkpoints import Checkpoints
    from dnd_transformer.toolbox.watching import MEASURED
    last = Checkpoints(folder).entries[-1]
    rows = [json.loads(line) for line in Path(folder, "log.jsonl").read_text().splitlines()]
    rows = [{k: v for k,v in row.items() if k not in MEASURED} for row in rows]
    slices = {p.name: p.read_bytes() for p in Path(folder, last["folder"]).glob("slices-*")}
    return last["step"], rows, slices


def seen(case, top):
    "Run a case; what there is to say about it, and a check that it went as it should."
    folder = top/str(list(CASES).index(case))
    folder.mkdir()
    codes, seconds, said = start(case, str(folder))
    ours = "has died", "was skipped", "stopped by", "steps in a row"
    lines = [line.replace(f"{folder}", "runs/x") for line in said.splitlines()
             if any(words in line for words in ours)]
    step, rows, slices = state_of(folder)
    found = dict(exit_codes=codes, said=lines, saved_at=step,
                 skipped=sum(row.get("skipped", 0) for row in rows))
    if case.startswith("killed, "): found["ended_within_60_s"] = seconds < 60
    if (folder/"took.json").is_file(): found["microseconds"] = json.loads(
        (folder/"took.json").read_text())
    whole = top/"0"
    if "torchrun" in case: found["as_undisturbed"] = (step, rows, slices) == state_of(whole)
    return found


def main(out, *cases):
    out = Path(out)
    results = json.loads(out.read_text()) if out.is_file() else dict(cases={})
    top = Path(tempfile.mkdtemp())
    wanted = [c for c in cases or CASES if c not in results["cases"]]
    if any("torchrun" in c for c in wanted) and "undisturbed" not in wanted:
        wanted = ["undisturbed", *wanted]  # to compare with
    for case in wanted:
        began = sum(os.times()[:4])
        results["cases"][case] = seen(case, top)
        results["cases"][case]["cpu_seconds"] = round(sum(os.times()[:4])-began)
        print(case, results["cases"][case], flush=True)
        from dnd_transformer.toolbox.files import machine
        results |= dict(processes=N, steps=STEPS, batch=AT, date=date.today().isoformat(),
                        made=machine("cpu"))
        out.write_text(json.dumps(results, indent=1)+"\n")


if sys.argv[1] == "train": train(*CASES[sys.argv[2]], sys.argv[3])
else: main(*sys.argv[1:])
