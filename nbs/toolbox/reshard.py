"Read tensors that another number of processes wrote, then write them; on the page `slices`."
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

from dnd_transformer.toolbox.files import load_json, save_json
from dnd_transformer.toolbox.processes import full_tensor, processes, rank, world_size
from dnd_transformer.toolbox.slices import read_slices, write_slices

folder = Path(sys.argv[1])
WHOLE = {"long": torch.arange(35.).view(7, 5), "short": torch.arange(2.), "number": torch.tensor(3),
         "half": torch.arange(8).view(8, 1).bfloat16(), "same": torch.arange(4, dtype=torch.uint8)}


def spread(full):
    "As FSDP would have it; of four processes two pairs hold the same."
    n = world_size()
    if n == 1: return full.clone()
    shape, placed = ((2, 2), [Replicate(), Shard(0)]) if n == 4 else ((n,), [Shard(0)])
    return distribute_tensor(full, init_device_mesh("cpu", shape), placed)


def tensors(fill):
    plain = ("number", "same")
    return {k: fill(v) if k in plain else spread(fill(v)) for k,v in WHOLE.items()}


def main():
    with processes("cpu"):
        table, said = folder/"table.json", ""
        group = dist.new_group(backend="gloo") if world_size() > 1 else None
        if table.is_file():
            found = tensors(torch.zeros_like)
            read_slices(found, folder, load_json(table))
            for k,v in found.items(): assert torch.equal(full_tensor(v), WHOLE[k]), (k, v)
            said = f"read what {len(list(folder.glob('*.safetensors')))} wrote, "
        finish = lambda files, slices: save_json(slices, table)
        write_slices(tensors(torch.clone), folder, finish, group).result()
        sizes = [p.stat().st_size for p in sorted(folder.glob("*.safetensors"))]
        if rank() == 0: print(f"{world_size()} processes: {said}wrote {sizes} bytes")


main()
