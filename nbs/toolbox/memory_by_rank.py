"""What lies on which rank while a small transformer trains: memory_by_rank.py OUT

Starts itself under torchrun with two to four processes. Each counts the bytes of its tensors after
two steps, and how much its own memory has grown since the model was made. Then one process counts
what a forward pass keeps for the backward pass.
"""
import ctypes, gc, json, resource, sys
from datetime import date
from pathlib import Path

import torch

from dnd_transformer.toolbox.checkpoints import WeightEMA
from dnd_transformer.toolbox.files import count_params, load_json, machine
from dnd_transformer.toolbox.files import save_json, set_seed
from dnd_transformer.toolbox.parallel import AsForward, tune_blocks, wrap
from dnd_transformer.toolbox.processes import from_all_ranks, launch, processes, rank
from dnd_transformer.toolbox.transformer_settings import TransformerConfig, TransformerTraining
from dnd_transformer.training import make_optimizer, transformer_step
from dnd_transformer.transformer import DnDTransformer

SMALL = dict(dim=512, n_layer=8, n_head=8, codebook_size=4096, grid=(8, 8), depth=2)
CASES = {"ddp": ("ddp", 0), "fsdp": ("fsdp", 0), "hsdp": ("fsdp", 2)}  # As `wrap` takes them
RUNS = [("ddp", 2), ("fsdp", 2), ("fsdp", 4), ("hsdp", 4)]
PER_RANK = 2  # Images in a step


def size(tensors):
    "Bytes of what this process holds of the tensors."
    local = (t.to_local() if hasattr(t, "to_local") else t for t in tensors)
    return sum(t.numel()*t.itemsize for t in local)


def resident():
    "Bytes of memory that belong to this process alone, less what was freed and is kept for later."
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # of Linux
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024*int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def one_rank(how, settings):
    "Two steps; what this process holds then."
    start, c = resident(), TransformerConfig(**SMALL)
    model = DnDTransformer(c).train()
    module = wrap(AsForward(model, "depth_losses"), model.layers, torch.device("cpu"), *CASES[how])
    optimizer, average = make_optimizer(model, settings), WeightEMA(model, .9)
    codes = torch.randint(c.codebook_size, (PER_RANK, *c.grid, c.depth))
    for _ in range(2):
        transformer_step(module, optimizer, codes, torch.zeros(PER_RANK).long(), settings)
        average.update(model)
    params = list(model.parameters())
    states = [v for s in optimizer.state.values() for k,v in s.items() if k != "step"]
    return dict(weights=size(params), gradients=size(p.grad for p in params),
                adam=size(states), average=size(average.params.values()),
                grown=resident()-start)


def kept_bytes(config, batch, checkpointing=False, kind=torch.float32):
    "Bytes that a forward pass keeps, weights and what has the same storage counted out."
    model = DnDTransformer(config).train()
    if checkpointing: tune_blocks(model.layers, twice=config.n_layer)
    known = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept, alive = {}, []
    def _keep(t):
        where = t.untyped_storage().data_ptr()
        if where not in known: kept[where] = t.untyped_storage().nbytes()
        alive.append(t)  # else its place could be given to another tensor
        return t
    codes = torch.randint(config.codebook_size, (batch, *config.grid, config.depth))
    with (torch.autograd.graph.saved_tensors_hooks(_keep, lambda t: t),
          torch.autocast("cpu", torch.bfloat16, enabled=kind == torch.bfloat16)):
        alive += model.hidden_by_depth(codes, torch.zeros(batch).long())
    return sum(kept.values())


def activations():
    "Bytes kept for a token and a layer: what more of both adds, so that nothing else counts."
    rows = []
    for dim, kind, checkpointing in ((256, torch.float32, False), (512, torch.float32, False),
                                     (512, torch.float32, True), (512, torch.bfloat16, False)):
        few, many = (TransformerConfig(**dict(SMALL, dim=dim, n_layer=n)) for n in (4, 8))
        kept = [[kept_bytes(c, batch, checkpointing, kind) for c in (few, many)]
                for batch in (2, 4)]
        more = (kept[1][1]-kept[1][0]-kept[0][1]+kept[0][0])/2/many.n_positions
        rows.append(dict(dim=dim, hidden=many.hidden, n_head=many.n_head,
                         kind=str(kind).removeprefix("torch."), checkpointing=checkpointing,
                         bytes=more/(many.n_layer-few.n_layer)))
    return rows


def used_seconds():
    "Processor time of this process and of all that it started."
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime+u.ru_stime for u in used)


def main(out):
    torch.set_num_threads(1)
    about = load_json(out) if Path(out).is_file() else dict(cpu_seconds=0, cases=[])
    before = about["cpu_seconds"]
    about |= dict(date=date.today().isoformat(), **machine("cpu"), settings=SMALL)
    about["parameters"] = count_params(DnDTransformer(TransformerConfig(**SMALL)))
    if "activations" not in about: about["activations"] = activations()
    done = [(c["parallel"], c["processes"]) for c in about["cases"]]
    for how,n in RUNS:
        if (how, n) in done: continue  # of an earlier call that was stopped
        ranks = json.loads(launch(__file__, n, "--case", how).stdout)
        about["cases"].append(dict(parallel=how, processes=n, ranks=ranks))
        save_json(dict(about, cpu_seconds=before+round(used_seconds())), out)
        print(how, n, ranks, flush=True)


def case(how):
    torch.set_num_threads(1)
    with processes("cpu"):
        set_seed(0)
        found = from_all_ranks(one_rank(how, TransformerTraining(batch_size=PER_RANK)))
        if rank() == 0: print(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1] == "--case": case(sys.argv[2])
    else: main(sys.argv[1])
