"Train a tokenizer a few steps, in one process or two; launched by the page on its training."
import sys
from dataclasses import replace

import torch
from torch.utils.data import TensorDataset

from dnd_transformer.tokenizer import TOKENIZERS, Tokenizer
from dnd_transformer.tokenizer_training import TOKENIZER_TRAININGS, train_tokenizer
from dnd_transformer.toolbox.files import set_seed
from dnd_transformer.toolbox.processes import processes, rank

folder, name = sys.argv[1:]


def main():
    with processes("cpu") as device:
        set_seed(0)
        torch.set_num_threads(1)
        tok = Tokenizer(TOKENIZERS["digits"])
        tok.load_state_dict(torch.load(f"{folder}/start.pt"))
        settings = replace(TOKENIZER_TRAININGS["digits"], steps=8, batch_size=16, lr=4e-5,
                           adversarial_weight=.75, adversarial_start=2)
        digits = TensorDataset(*torch.load(f"{folder}/digits.pt"))
        train_tokenizer(tok, digits, settings, device=device, keys=())
        torch.save(tok.state_dict(), f"{folder}/{name}-{rank()}.pt")


main()
