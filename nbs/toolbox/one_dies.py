"""Three processes of which one ends early; the page `peers` starts it: one_dies.py HOW WHO OTHERS

HOW: kill or error. WHO: number of the process. OTHERS wait in a sum or sleep.
"""
import os, signal, socket, subprocess, sys, time

N, LIMIT = 3, 60


def start(how, who, others):
    "Start all, wait for all, say how they ended."
    with socket.create_server(("localhost", 0)) as s: port = s.getsockname()[1]
    env = dict(os.environ, MASTER_ADDR="localhost", MASTER_PORT=str(port), WORLD_SIZE=str(N))
    ranks = [subprocess.Popen([sys.executable, __file__, how, who, others], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=dict(env, RANK=str(r), LOCAL_RANK=str(r))) for r in range(N)]
    first = ranks[int(who)]
    first.wait()
    began = time.monotonic()
    said = [r.communicate(timeout=LIMIT)[1] for r in ranks]
    assert time.monotonic()-began < LIMIT
    print(f"{how} process {who}, the others in a {others}: exit codes "
          f"{[r.returncode for r in ranks]}")
    for r,text in enumerate(said):
        if r == int(who): assert ("ValueError" in text) == (how == "error"), text
        elif text.strip(): print(f"process {r}: {text.strip()}")
    assert first.returncode and all(r.returncode == 1 for r in ranks if r is not first)


def one(how, who, others):
    "What one process does."
    import torch
    from dnd_transformer.toolbox import peers
    from dnd_transformer.toolbox.processes import processes, rank, sum_over_ranks
    peers.GRACE = 2.
    with processes("cpu"):
        sum_over_ranks(torch.ones(1))
        if rank() == int(who):
            time.sleep(.5)
            if how == "error": raise ValueError("no such folder")
            os.kill(os.getpid(), signal.SIGKILL)
        if others == "sleep": time.sleep(10*LIMIT)
        sum_over_ranks(torch.ones(1))


(one if "RANK" in os.environ else start)(*sys.argv[1:])
