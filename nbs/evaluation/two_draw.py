"Draw digits and measure them, alone or in two processes; the page `while_training` starts it."
import json

import torch

from dnd_transformer.evaluation.while_training import SampleDistance, draw_shared, sampler_of
from dnd_transformer.models.checkpoints import load_tokenizer, load_transformer
from dnd_transformer.pictures import Digits
from dnd_transformer.toolbox.parallel import AsForward, unsharded, wrap
from dnd_transformer.toolbox.processes import processes, rank


def main():
    torch.set_num_threads(1)
    with processes("cpu") as device:
        tok, found = load_tokenizer("digits"), {}
        distance = SampleDistance(tok, Digits(300, seed=1), 60, "random-conv-64")
        for name,parallel in (("whole", "ddp"), ("sliced", "fsdp")):
            model = load_transformer("digits").requires_grad_()
            module = wrap(AsForward(model, "depth_losses"), model.layers, device, parallel)
            with unsharded(module):
                sampler = sampler_of(model)
                found[name] = distance(sampler)[distance.name]
                found["codes"] = draw_shared(sampler, 5).tolist()
        if rank() == 0: print(json.dumps(found))


main()
