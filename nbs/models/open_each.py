"""Open every file of a folder, each in a process of its own with bounded memory.

`open_each.py FOLDER` prints one line of JSON for each file and way to open it: seconds of
processor time, megabytes on top of what an idle process has, and all that was said.
"""
import json, os, resource, signal, sys, tempfile, traceback
from pathlib import Path

from dnd_transformer.cli.commands import dnd_convert, dnd_sample
from dnd_transformer.models.checkpoints import load_tokenizer

MEMORY = 2**30 # Bytes that a process may ask for, beyond what it has at the start
PATIENCE = 60  # Seconds of processor time, after which the system ends it

def ways_to_open(path, out):
    "The function and two commands, by name; `out` is a folder that none of them should make."
    return {"load_tokenizer": lambda: load_tokenizer(path),
            "dnd-convert": lambda: dnd_convert.main([str(path), out]),
            "dnd-sample": lambda: dnd_sample.main(["--model", str(path), "--config", "digits",
                                                   "--out", out])}

def run_limited(work, said):
    "Call `work` with limits on memory and time; its words and its error go to the file `said`."
    for stream in (1, 2): os.dup2(said.fileno(), stream)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages*os.sysconf("SC_PAGE_SIZE")+MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (PATIENCE, PATIENCE))
    try: work()
    except ValueError as e: print(e, file=sys.stderr)
    except SystemExit: pass  # a command has said why
    except BaseException: traceback.print_exc()
    for stream in (sys.stdout, sys.stderr): stream.flush()

def measure(work):
    "Seconds, megabytes and words of `work`, called in a process of its own."
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        child = os.fork()
        if not child:
            run_limited(work, said)
            os._exit(0)
        _, status, used = os.wait4(child, 0)
        said.seek(0)
        words = said.read().strip()
    if os.WIFSIGNALED(status): words += f"ended by {signal.Signals(os.WTERMSIG(status)).name}"
    return used.ru_utime+used.ru_stime, used.ru_maxrss/1024, words

if __name__ == "__main__":
    _, idle, _ = measure(lambda: None)
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(p for p in Path(sys.argv[1]).iterdir() if p.suffix != ".yaml"):
            for way,work in ways_to_open(path, f"{folder}/out").items():
                seconds, megabytes, words = measure(work)
                print(json.dumps(dict(file=path.name, way=way, seconds=seconds,
                                      megabytes=megabytes-idle, words=words)), flush=True)
        assert not os.listdir(folder)
