"Extract codes in shards of 100 and be killed on the way; `launch`ed by the page 06_codes."
import os, signal, sys

import torch
from torch.utils.data import TensorDataset

from dnd_transformer.codes import extract_codes
from dnd_transformer.tokenizer import TOKENIZERS, Tokenizer
from dnd_transformer.toolbox.files import set_seed
from dnd_transformer.toolbox.processes import processes

folder, kill_at = sys.argv[1], int(sys.argv[2])


class Fragile(TensorDataset):
    "Pictures of noise, until item `kill_at` is asked for."
    def __getitem__(self, i):
        if i == kill_at: os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(i)


with processes("cpu") as device:
    set_seed(0)
    tok = Tokenizer(TOKENIZERS["digits"]).eval().to(device)
    images, labels = torch.rand(500, 1, 16, 16)*2-1, torch.arange(500)
    extract_codes(tok, Fragile(images, labels), folder, shard_size=100)
