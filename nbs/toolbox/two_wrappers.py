"A small network, trained alone, with DDP and with FSDP; the page `parallel` starts it."
from copy import deepcopy

import torch
from torch import nn

from dnd_transformer.toolbox.parallel import AsForward, TrainState, clip_gradients, sync_gradients
from dnd_transformer.toolbox.parallel import unsharded, wrap
from dnd_transformer.toolbox.processes import from_all_ranks, full_tensor, my_share, processes, rank


class Net(nn.Sequential):
    def loss(self, x): return self(x).square().mean(-1)


def fresh():
    torch.manual_seed(0)
    return Net(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)).double()


class Trainer:
    "The network with its optimizer, alone or spread over the processes."
    def __init__(self, device, parallel=None):
        self.net, self.alone = fresh(), parallel is None
        self.module = AsForward(self.net, "loss")
        if parallel: self.module = wrap(self.module, [self.net[0]], device, parallel)
        self.optimizer = torch.optim.AdamW(self.net.parameters(), .01)
        self.state = TrainState(self.net, self.optimizer)

    def step(self, batch):
        mine = batch if self.alone else my_share(batch)
        self.optimizer.zero_grad()
        for i,part in enumerate(mine.chunk(2)):
            with sync_gradients(self.module, on=i == 1): (self.module(part).mean()/2).backward()
        norm = clip_gradients(self.module, .1)
        self.optimizer.step()
        return norm.item()

    def weights(self):
        return torch.cat([full_tensor(p).flatten() for p in self.net.parameters()])

    def loss(self, x):
        with unsharded(self.module), torch.no_grad(): return self.net.loss(x).mean().item()


def main():
    with processes("cpu") as device:
        batches = torch.randn(5, 8, 4, generator=torch.Generator().manual_seed(1)).double()
        one = Trainer(device)
        norms = torch.tensor([one.step(b) for b in batches])
        apart, states = {}, {}
        for parallel in ("ddp", "fsdp"):
            spread = Trainer(device, parallel)
            given = torch.tensor([spread.step(b) for b in batches[:3]])
            states[parallel] = deepcopy(spread.state.state_dict())  # as a file would hold it
            given = torch.cat([given, torch.tensor([spread.step(b) for b in batches[3:]])])
            apart[parallel] = (spread.weights()-one.weights()).abs().max().item()
            apart[f"{parallel}, norms"] = (given-norms).abs().max().item()
            apart[f"{parallel}, loss"] = abs(spread.loss(batches[0])-one.loss(batches[0]))
        for kind in (None, "ddp", "fsdp"):  # goes on from a checkpoint of FSDP
            other = Trainer(device, kind)
            state = from_all_ranks(states["fsdp"])[0]  # rank 0 has the tensors
            other.state.load_state_dict(state)
            for b in batches[3:]: other.step(b)
            name = f"fsdp, then {kind or 'one process'}"
            apart[name] = (other.weights()-one.weights()).abs().max().item()
        assert max(apart.values()) < 1e-9, apart
        if rank() == 0: print(*(f"{k}: {v:.0e}" for k,v in apart.items()), sep="\n")


main()
