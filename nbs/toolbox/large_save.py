"""Who needs how much memory while a large model is saved, and how long training waits:
large_save.py RESULTS FOLDER

A transformer of more than 200 million parameters is trained under FSDP in two processes, with
Adam, in float32. After two steps it is saved while two more steps run. Every process watches
its own memory, and the time for which `save` keeps it. (The second step is the one that counts:
the first makes the optimizer's averages.)
"""
import json, resource, sys, threading, time
from datetime import date
from pathlib import Path

import torch

from dnd_transformer.toolbox.checkpoints import Checkpoints
from dnd_transformer.toolbox.files import count_params, load_json, machine, save_json
from dnd_transformer.toolbox.parallel import AsForward, TrainState, wrap
from dnd_transformer.toolbox.processes import from_all_ranks, launch, processes, rank
from dnd_transformer.toolbox.transformer_settings import TransformerConfig, TransformerTraining
from dnd_transformer.training import make_optimizer, transformer_step
from dnd_transformer.transformer import DnDTransformer

CONFIG = TransformerConfig(dim=1024, n_layer=16, n_head=16, codebook_size=2048, grid=(4, 4),
                           depth=2)
PROCESSES, IMAGES = 2, 2


def own_memory():
    "GB that belong to this process alone; mapped files do not count."
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1])*1024 for line in lines if line.startswith("RssAnon"))/1e9


class Watch(threading.Thread):
    "The highest memory while it lasts."
    def __init__(self):
        super().__init__(daemon=True)
        self.highest, self.over = own_memory(), threading.Event()
        self.start()
    def run(self):
        while not self.over.wait(.01): self.highest = max(self.highest, own_memory())
    def end(self):
        self.over.set(); self.join()
        return self.highest


def measured(step, save):
    "Seconds (on the clock, and of this thread's processor time) of a step and of `save`."
    def timed(work):
        wall, cpu = time.perf_counter(), time.thread_time()
        work()
        return time.perf_counter()-wall, time.thread_time()-cpu
    before = [timed(step) for _ in range(2)]
    held, watch = own_memory(), Watch()
    keeps = timed(save)
    beside = [timed(step) for _ in range(2)]
    rounded = lambda pair: [round(x, 2) for x in pair]
    return dict(step=rounded(before[1]), save=rounded(keeps), held=held,
                beside=[*map(rounded, beside)]), watch


def one_rank(folder):
    with processes("cpu") as device:
        with torch.device("meta"): model = DnDTransformer(CONFIG)
        module, settings = AsForward(model.train(), "depth_losses"), TransformerTraining()
        module = wrap(module, model.layers, device, "fsdp")
        model.to_empty(device=device)  # no process ever has the whole
        for p in model.parameters(): torch.nn.init.constant_(p, .01)
        optimizer = make_optimizer(model, settings)
        codes = torch.randint(CONFIG.codebook_size, (IMAGES, *CONFIG.grid, CONFIG.depth))
        labels, saved = torch.zeros(IMAGES).long(), Checkpoints(folder)
        state = dict(training=TrainState(model, optimizer))
        def step(): transformer_step(module, optimizer, codes, labels, settings)
        with saved:
            row, watch = measured(step, lambda: saved.save(3, state, wait=False))
            saved.wait()
        rows = from_all_ranks(dict(row, highest=watch.end()))
        if rank() == 0: print(json.dumps(rows))


def main(results, folder):
    rows = json.loads(launch(__file__, PROCESSES, "--rank", folder).stdout)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    with torch.device("meta"): parameters = count_params(DnDTransformer(CONFIG))
    files = {p.name: p.stat().st_size/1e9 for p in folder.glob("step-*/*.safetensors")}
    report = dict(date=date.today().isoformat(), **machine("cpu"), parameters=parameters,
                  images=IMAGES, ranks=rows, files_gb=files,
                  cpu_seconds=round(used.ru_utime+used.ru_stime))
    known = load_json(results) if results.is_file() else {}
    save_json({**known, "large_save": report}, results)
    print(report)


if __name__ == "__main__":
    if sys.argv[1] == "--rank": one_rank(sys.argv[2])
    else: main(Path(sys.argv[1]), Path(sys.argv[2]))
