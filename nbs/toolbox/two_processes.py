"What two processes must agree about; started by `launch` on the page `processes`."
import atexit, os, sys
from glob import glob
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from dnd_transformer.toolbox.processes import from_all_ranks, from_rank_0, full_tensor
from dnd_transformer.toolbox.processes import mean_over_ranks, my_share, on_rank_0, processes, rank
from dnd_transformer.toolbox.processes import sum_over_ranks, world_size


class TwoPart(Exception):
    "Pickle can write this error and not read it: it wants two arguments."
    def __init__(self, a, b): super().__init__(f"{a}, {b}")


def check_sums(r):
    a, b = torch.full((2, 2), 1.+r), torch.tensor([10.*r])
    sum_over_ranks(a, b)
    assert a.tolist() == [[3, 3], [3, 3]] and b.tolist() == [10]
    assert mean_over_ranks(dict(loss=torch.tensor(float(r))))["loss"] == .5
    assert from_rank_0(f"rank {r}") == "rank 0" and from_all_ranks(r) == [0, 1]
    assert from_rank_0(torch.tensor([r])).item() == 0


def check_slices(r):
    full = torch.arange(12.).view(6, 2)
    sliced = distribute_tensor(full, init_device_mesh("cpu", (2,)), [Shard(0)])
    assert sliced.to_local().shape == (3, 2) and torch.equal(full_tensor(sliced), full)
    net = DistributedDataParallel(torch.nn.Linear(2, 2))
    net(full+r).sum().backward()
    grads = from_all_ranks(net.module.weight.grad.tolist())
    assert grads[0] == grads[1]


def share(size):
    try: return my_share(torch.arange(size)).tolist()
    except ValueError as e: return str(e)


def raised(error):
    "What each process gets when process 0 raises `error`."
    def fail(): raise error
    try: on_rank_0(fail)
    except BaseException as e: return from_all_ranks(f"{type(e).__name__}: {e}")


def show(r):
    shares = from_all_ranks(share(6))
    assert "5 cannot be divided among 2 processes" in share(5)
    if r == 0: print("shares", shares)
    errors = [ValueError("folder taken"), KeyError("grid"), KeyboardInterrupt()]
    for error in (*errors, TwoPart("half", "half")):
        got = raised(error)
        if r > 0: continue
        if got[0] == got[1]: print("every process has", got[0])
        else: print("\n".join(f"process {i} has {text}" for i,text in enumerate(got)))
    try: on_rank_0(lambda: share)  # a function can travel, one without a name cannot
    except Exception: raise AssertionError("a function of this file should have arrived")
    try: on_rank_0(lambda: lambda: 0)
    except Exception as e: assert "pickle" in str(e), e
    else: raise AssertionError("what cannot travel should be an error everywhere")


def check_threads():
    "Runs last: gloo's threads must be gone before the interpreter closes."
    names = [Path(p).read_text().strip() for p in glob("/proc/self/task/*/comm")]
    left = [n for n in names if "gloo" in n]
    if left:
        sys.stderr.write(f"{len(left)} threads of gloo are left\n")
        os._exit(1)


def main():
    with processes("cpu"):
        r, n = rank(), world_size()
        assert n == 2
        check_sums(r)
        check_slices(r)
        show(r)


def hold():
    "Leave the group as a program without `processes` would."
    dist.init_process_group("gloo")
    globals()["net"] = DistributedDataParallel(torch.nn.Linear(2, 2))
    dist.destroy_process_group()


atexit.register(check_threads)  # before everything else that is registered, so it runs after it
hold() if "hold" in sys.argv else main()
