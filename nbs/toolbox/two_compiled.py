"Compiled blocks under FSDP in two processes, one of them computed twice; on the page `parallel`."
import copy

import torch
from torch import nn

from dnd_transformer.toolbox.parallel import AsForward, tune_blocks, wrap
from dnd_transformer.toolbox.processes import full_tensor, my_share, processes, rank


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(8), nn.Linear(8, 8)
    def forward(self, h): return h+self.linear(self.norm(h)).tanh()


class Net(nn.Sequential):
    def loss(self, x): return self(x).square().mean(-1)


def main():
    with processes("cpu") as device:
        torch.manual_seed(0)
        net = Net(nn.Linear(8, 8), *(Block() for _ in range(3))).double()
        x = torch.randn(4, 8).double()
        plain = copy.deepcopy(net)
        plain.loss(x).mean().backward()
        tune_blocks(net[1:], fuse=True, twice=1)
        module = wrap(AsForward(net, "loss"), net[1:], device, "fsdp")
        module(my_share(x)).mean().backward()
        pairs = zip(net.parameters(), plain.parameters())
        apart = max((full_tensor(p.grad)-q.grad).abs().max().item() for p,q in pairs)
        seen = torch._dynamo.utils.counters
        graphs, breaks = seen["stats"]["unique_graphs"], len(seen["graph_break"])
        assert apart < 1e-9 and (graphs, breaks) == (1, 0), (apart, seen)
        if rank() == 0: print(f"{graphs} graph, {breaks} breaks, gradients {apart:.0e} apart")


main()
