"Three batches in two processes, each loading its share; started on the page `batches`."
import json
from itertools import islice

import torch
from torch.utils.data import TensorDataset

from dnd_transformer.toolbox.batches import load_batches
from dnd_transformer.toolbox.processes import from_all_ranks, processes, rank

numbers = TensorDataset(torch.zeros(20, 1, 2, 2), torch.arange(20))
with processes("cpu"):
    loaded = islice(load_batches(numbers, 6, seed=0, start=4), 3)
    shares = from_all_ranks([labels.tolist() for _,labels in loaded])
    if rank() == 0: print(json.dumps(shares))
