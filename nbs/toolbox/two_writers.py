"Write squares in shards, and be killed on the way; started by `launch` on the page `shards`."
import os, signal, sys

import numpy as np

from dnd_transformer.toolbox.processes import processes
from dnd_transformer.toolbox.run_folder import RunFolder
from dnd_transformer.toolbox.shards import write_shards

folder, kill_at = sys.argv[1], int(sys.argv[2])


def squares(rows, done):
    if kill_at in rows: os.kill(os.getpid(), signal.SIGKILL)
    x = np.array(rows)
    return dict(number=x.astype(np.uint8), square=x**2)


with processes("cpu"):
    write_shards(RunFolder(folder, "squares", dict(count=20, size=4)), 20, 4, squares)
