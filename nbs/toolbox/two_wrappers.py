"A small network, trained alone and in four processes in three ways; on the page `parallel`."
import sys
from pathlib import Path

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.debug import CommDebugMode

from dnd_transformer.toolbox.checkpoints import Checkpoints, WeightEMA
from dnd_transformer.toolbox.parallel import AsForward, TrainState, clip_gradients, sync_gradients
from dnd_transformer.toolbox.parallel import unsharded, wrap
from dnd_transformer.toolbox.processes import full_tensor, my_share, processes, rank

WAYS = dict(ddp=dict(parallel="ddp"), fsdp=dict(parallel="fsdp"),
            copies=dict(parallel="fsdp", shard=2))


class Net(nn.Sequential):
    def loss(self, x): return self(x).square().mean(-1)


def fresh():
    torch.manual_seed(0)
    return Net(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)).double()


class Trainer:
    "The network with its optimizer and average, alone or spread over the processes."
    def __init__(self, device, **way):
        self.net, self.alone = fresh(), not way
        self.module = AsForward(self.net, "loss")
        if way: self.module = wrap(self.module, [self.net[0]], device, **way)
        self.optimizer = torch.optim.AdamW(self.net.parameters(), .01)
        self.ema = WeightEMA(self.net, .9)
        self.state = dict(training=TrainState(self.net, self.optimizer), ema=self.ema)

    def step(self, batch):
        mine = batch if self.alone else my_share(batch)
        self.optimizer.zero_grad()
        for i,part in enumerate(mine.chunk(2)):
            with sync_gradients(self.module, on=i == 1): (self.module(part).mean()/2).backward()
        norm = clip_gradients(self.module, .1)
        self.optimizer.step()
        self.ema.update(self.net)
        return norm.item()

    def weights(self):
        both = (*self.net.parameters(), *self.ema.params.values())
        return torch.cat([full_tensor(p).flatten() for p in both])

    def loss(self, x):
        with unsharded(self.module), torch.no_grad(): return self.net.loss(x).mean().item()


def in_slices(way, trainer):
    "FSDP must leave no process with a whole weight or a whole average."
    for p in (*trainer.net.parameters(), *trainer.ema.params.values()):
        assert isinstance(p, DTensor) == (way != "ddp")
        assert way == "ddp" or p.to_local().numel() <= -(-p.shape[0]//2)*p[:1].numel()


def messages(trainer, batch):
    "How often gradients of a group of weights travel in a step of two parts."
    with CommDebugMode() as seen: trainer.step(batch)
    return sum(n for op,n in seen.get_comm_counts().items() if "reduce_scatter" in str(op))


def check_stream(device):
    "What leaves a block, whose weights come in bfloat16, is added to a stream in float32."
    class Stream(nn.Module):
        def __init__(self):
            super().__init__()
            self.begin, self.block = nn.Embedding(4, 8), nn.Linear(8, 8)
        def forward(self, i):
            h = self.begin(i)
            with torch.autocast("cpu", torch.bfloat16): out = self.block(h)
            return h, out, h+out

    module = Stream()
    wrap(module, [module.block], device, "fsdp", dtype=torch.bfloat16)
    return [str(x.dtype) for x in module(torch.arange(4))]


def main(folder):
    with processes("cpu") as device:
        batches = torch.randn(5, 8, 4, generator=torch.Generator().manual_seed(1)).double()
        one, apart = Trainer(device), {}
        norms = torch.tensor([one.step(b) for b in batches])
        for way,how in WAYS.items():
            spread = Trainer(device, **how)
            in_slices(way, spread)
            given = torch.tensor([spread.step(b) for b in batches[:3]])
            Checkpoints(folder/way).save(3, spread.state)
            given = torch.cat([given, torch.tensor([spread.step(b) for b in batches[3:]])])
            apart[way] = (spread.weights()-one.weights()).abs().max().item()
            apart[f"{way}, norms"] = (given-norms).abs().max().item()
            apart[f"{way}, loss"] = abs(spread.loss(batches[0])-one.loss(batches[0]))
        for way,how in dict(WAYS, alone={}).items():  # goes on from what two copies have saved
            other = Trainer(device, **how)
            Checkpoints(folder/"copies").load(other.state)
            for b in batches[3:]: other.step(b)
            apart[f"copies, then {way}"] = (other.weights()-one.weights()).abs().max().item()
        kinds, sent = check_stream(device), messages(Trainer(device, **WAYS["fsdp"]), batches[0])
        if rank() > 0: return
        assert sent == 2, f"{sent} messages for two groups of weights, the block and the rest"
        assert max(apart.values()) < 1e-9 and kinds[0] == kinds[2] == "torch.float32", apart
        print(*(f"{k}: {v:.0e}" for k,v in apart.items()), f"stream {kinds}", sep="\n")


main(Path(sys.argv[1]))
