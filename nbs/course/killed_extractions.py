"""Kill an extraction again and again, with 1, 2 and 3 processes: killed_extractions.py OUT

Every start goes on in the same folder. Soon after its first new shard, one process or all are
killed by a signal that no program can catch. In the end the store must hold the same bytes as
one that was written in one go by one process; OUT says so. Run it from anywhere.
"""
import hashlib, itertools, os, random, resource, shutil, signal, subprocess, sys, tempfile, time
from datetime import date
from pathlib import Path

import torch
from torch.utils.data import Dataset

from dnd_transformer.codes import extract_codes
from dnd_transformer.tokenizer import TOKENIZERS, Tokenizer
from dnd_transformer.toolbox.files import machine, save_json, set_seed
from dnd_transformer.toolbox.processes import processes, rank

SHARD, SHARDS, KILLS = 40, 60, 12


class SlowNoise(Dataset):
    "Pictures of noise that take a hundredth of a second each, as pictures from a disk may."
    def __init__(self): self.shown = SHARD*SHARDS
    def __len__(self): return self.shown
    def __getitem__(self, i):
        time.sleep(.01)
        generator = torch.Generator().manual_seed(i)
        return torch.randint(256, (1, 16, 16), generator=generator)/127.5-1, i % 10


def extract(folder):
    "What each of the processes does."
    torch.set_num_threads(1)
    with processes("cpu") as device:
        Path(f"{folder}-pids", str(rank())).write_text(str(os.getpid()))
        set_seed(0)
        tok = Tokenizer(TOKENIZERS["digits"]).eval().to(device)
        extract_codes(tok, SlowNoise(), folder, shard_size=SHARD)


def start(folder, n):
    "The extraction in `n` processes, and where each of them writes its number."
    pids = Path(f"{folder}-pids")
    shutil.rmtree(pids, ignore_errors=True)
    pids.mkdir()
    run = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(n)]
    command = [sys.executable, *run, __file__, "--extract", str(folder)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL), pids


def shards(folder): return {p.name for p in Path(folder).glob("shard-*.json")}


def killed_once(folder, n, rng):
    "Start, wait for a new shard and a little longer, and kill; what happened, None if it ended."
    before, (run, pids) = shards(folder), start(folder, n)
    while shards(folder) == before and run.poll() is None: time.sleep(.02)
    time.sleep(rng.uniform(0, .8))
    if run.poll() is not None: return None
    numbers = [int(p.read_text()) for p in pids.iterdir()]
    everyone = rng.random() < .5
    for number in numbers if everyone else [rng.choice(numbers)]:
        os.kill(number, signal.SIGKILL)
    if everyone: run.kill()
    code = run.wait()
    found = len(before), len(shards(folder))
    return dict(processes=n, killed="all" if everyone else "one", exit_code=code,
                shards_before=found[0], shards_after=found[1])


def content(folder):
    "Checksums of all files; run.json is left out, since it holds dates."
    files = sorted(p for p in Path(folder).iterdir() if p.name != "run.json")
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def main(out):
    top, rng, kills = Path(tempfile.mkdtemp()), random.Random(0), []
    for n in itertools.islice(itertools.cycle((1, 2, 3, 2)), KILLS):
        done = killed_once(top/"killed", n, rng)
        if done is None: sys.exit("it ended before it was killed: give it more shards")
        kills.append(done)
        print(done, flush=True)
    for name,n in (("killed", 3), ("whole", 1)):
        run, _ = start(top/name, n)
        if run.wait(): sys.exit(f"the extraction of {name} failed")
    same = content(top/"killed") == content(top/"whole")
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    seconds = round(sum(u.ru_utime+u.ru_stime for u in used))
    about = dict(date=date.today().isoformat(), **machine("cpu"), seed=0)
    save_json(dict(about, pictures=SHARD*SHARDS, shards=SHARDS, kills=kills, identical=same,
                   codes_sha256=content(top/"whole")["codes.npy"], cpu_seconds=seconds), out)
    shutil.rmtree(top)
    print(f"identical: {same}, after {len(kills)} kills")
    sys.exit(not same)


if __name__ == "__main__":
    if sys.argv[1] == "--extract": extract(sys.argv[2])
    else: main(sys.argv[1])
