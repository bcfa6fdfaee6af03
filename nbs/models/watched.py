"""Load or convert a file of the page on checkpoints while a thread watches the memory.

`watched.py load FILE` or `watched.py convert FILE FOLDER` prints, in GB: the highest memory of the
process on top of what it had before, and what is left of it at the end.
"""
import sys, threading

import torch

from dnd_transformer.models.checkpoints import convert, load_transformer
from dnd_transformer.transformer import TransformerConfig

BIG = TransformerConfig(dim=1024, n_layer=17, n_head=16, codebook_size=16384, depth=1)

def own_memory():
    "Bytes that belong to this process alone; pages of a mapped file do not count."
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1])*1024 for line in lines if line.startswith("RssAnon"))

def watched(work):
    "Call `work`; the highest and the last memory in GB, and what `work` returned."
    start, done, seen = own_memory(), threading.Event(), [0]
    def watch():
        while not done.wait(.002): seen.append(own_memory()-start)
    thread = threading.Thread(target=watch)
    thread.start()
    result = work()  # kept alive until the memory is read
    done.set()
    thread.join()
    return max(seen)/1e9, (own_memory()-start)/1e9, result

if __name__ == "__main__":
    what, file, *out = sys.argv[1:]
    load_transformer("digits")  # PyTorch imports a good part of itself for the first model
    if what == "load": work = lambda: load_transformer(file, BIG, torch.bfloat16)
    else: work = lambda: convert(file, *out, config=BIG, dtype=torch.bfloat16, shard_bytes=10**8)
    print(*watched(work)[:2])
