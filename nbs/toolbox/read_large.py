"Read 200 batches of a file that is larger than memory should be; started on the page `shards`."
import hashlib, json, sys
from pathlib import Path

import torch

from dnd_transformer.toolbox.batches import batch_indices
from dnd_transformer.toolbox.processes import from_all_ranks, my_share, processes, rank
from dnd_transformer.toolbox.shards import Shards

folder, count = sys.argv[1], int(sys.argv[2])


def own_megabytes():
    "Memory that belongs to this process alone."
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1])/1e3 for line in lines if line.startswith("RssAnon"))


with processes("cpu"):
    before, seen, parts = own_megabytes(), {}, []
    shards = Shards(folder, count, ("codes",))
    seen["opened"] = own_megabytes()-before
    for i in range(200):
        mine = my_share(batch_indices(i, count, 768, seed=0))
        codes, = shards.rows(mine)
        assert codes.shape == (len(mine), 16, 16)
        parts.append(mine)
        if i == 0: seen["first batch"] = own_megabytes()-before
    seen["last batch"] = own_megabytes()-before
    everyone = from_all_ranks((torch.stack(parts), {k: round(v, 1) for k,v in seen.items()}))
    if rank() == 0:
        order = torch.cat([part for part,_ in everyone], 1)
        digest = hashlib.sha256(order.numpy().tobytes()).hexdigest()
        print(json.dumps(dict(order=digest, megabytes=[found for _,found in everyone])))
