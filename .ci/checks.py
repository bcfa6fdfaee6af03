"""Everything that must hold, one line per check, ending in `N passed, N failed`.

    python .ci/checks.py            # all checks (what `make test` runs)
    python .ci/checks.py 02 demo    # only checks whose name contains one of the words
    python .ci/checks.py course --times results/pages.json   # keeps how long each page took

Run it with the Python of `.venv`. Files are compared with what they were before the check, not
with git, so uncommitted work can be checked too. A check that changes files leaves them changed:
`git diff` then shows what was out of step. What a page says about itself is in `pages.py`.
"""
import argparse, importlib.util, json, multiprocessing, os, platform, re, shutil, subprocess, sys
import tempfile, time
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import date
from pathlib import Path

import pages
from pages import NBS, PACKAGE, TOP

JOBS = 2        # Notebooks and programs that run side by side
TIMEOUT = 900   # Seconds for any one command
SHOWN_LINES = 80

THREADS = str(max(1, (os.cpu_count() or 1)//JOBS))
ENV = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
       "OMP_NUM_THREADS": THREADS, "MKL_NUM_THREADS": THREADS, "HF_HUB_OFFLINE": "1",
       "PYTHONUNBUFFERED": "1"}

# What `dnd-demo` must leave; each pattern has to match a file that is not empty
DEMO_FILES = ["metrics.json", "reconstructions.png", "samples-0.1.png",
              "samples-0.5.png", "samples-1.0.png", "tokenizer/log.jsonl",
              "transformer/log.jsonl", "codes/run.json", "tokenizer/model.safetensors",
              "tokenizer/config.json", "transformer/model.safetensors", "transformer/config.json"]

# What a user without the developers' tools does, far from the repository
USER_SCRIPT = """
import importlib, pkgutil, sys
from pathlib import Path

class Refuse:
    "Make the developers' tools look absent."
    names = {"nbdev", "execnb", "ghapi", "IPython", "nbconvert", "jupyterlab"}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refuse())

import dnd_transformer
where = Path(dnd_transformer.__file__)
assert where.is_relative_to(sys.argv[1]), f"imported from {where}"
for m in pkgutil.walk_packages(dnd_transformer.__path__, "dnd_transformer."):
    if not m.name.endswith("._modidx"): importlib.import_module(m.name)

from dnd_transformer import DnDPipeline
pipe = DnDPipeline.from_pretrained("words")
drawn = pipe(2, seed=1, temperature=.5)
drawn.images[0].save("word.png")
shown = [pipe.reconstruct("word.png", depth) for depth in (1, 4)]
assert all(x.size == drawn.images[0].size for x in shown)
half = pipe.complete("word.png", keep="top", seed=0)
assert half.codes[:,0].equal(pipe.encode("word.png")[:,0])
pipe.save_pretrained("mine")
assert DnDPipeline.from_pretrained("mine")(2, seed=1, temperature=.5).codes.equal(drawn.codes)
"""


class Failed(Exception): "A check that does not hold; the message says what and how to repair it."


def run(*cmd, cwd=TOP, **env):
    "Run `cmd`, return what it wrote; fail with that text if it fails."
    cmd = [str(c) for c in cmd]
    try:
        p = subprocess.run(cmd, cwd=cwd, env={**ENV, **env}, stdin=subprocess.DEVNULL, text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace",
                           timeout=TIMEOUT)
    except subprocess.TimeoutExpired as e:
        said = (e.output or b"").decode(errors="replace")
        raise Failed(f"{said}\n{cmd[0]} still ran after {TIMEOUT} s") from None
    if p.returncode: raise Failed(f"{p.stdout}\n{cmd[0]} ended with exit code {p.returncode}")
    return p.stdout


def snapshot(folder, pattern):
    "Bytes of the files under `folder`, by path."
    files = (p for p in sorted(folder.rglob(pattern)) if p.is_file())
    return {p: p.read_bytes() for p in files if "__pycache__" not in p.parts}


def unchanged(cmd, folder, pattern):
    "Run `cmd`; fail if it changed, added or removed a file."
    before = snapshot(folder, pattern)
    said = run(cmd)
    after = snapshot(folder, pattern)
    if "Failed to" in said: raise Failed(said)  # nbdev_clean only warns, and ends with exit code 0
    diff = [p for p in sorted({*before, *after}) if before.get(p) != after.get(p)]
    changed = ", ".join(str(p.relative_to(TOP)) for p in diff)
    if diff: raise Failed(f"{cmd} changed: {changed}\nLook at `git diff`, and commit what it made.")


def check_export(): unchanged("nbdev_export", PACKAGE, "*.py")


def check_clean(): unchanged("nbdev_clean", NBS, "*.ipynb")


def check_readme(): run(sys.executable, ".ci/readme.py", "--check")


def check_pages(find):
    if bad := find(): raise Failed("\n".join(bad))


# Pages are tested in copies of one process that has imported already what nearly all of them
# import: four seconds less for each page
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["torch", "torchvision", "matplotlib.pyplot", "nbdev.test"])


def test_page(path, log):
    "What `nbdev_test` does with one page; its output goes to the file `log`."
    out = os.open(log, os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2): os.dup2(out, stream)
    os.chdir(TOP)
    multiprocessing.set_start_method(None, force=True)  # pages get the platform's own way
    from nbdev.test import nbdev_test
    nbdev_test(path=str(path), n_workers=0)


def check_notebook(path):
    with tempfile.TemporaryDirectory() as tmp:
        log = Path(tmp)/"log"
        page = FORKS.Process(target=test_page, args=(path.relative_to(TOP), log))
        page.start()
        page.join(TIMEOUT)
        late = page.is_alive()
        if late: page.kill()
        said = log.read_text(errors="replace") if log.is_file() else ""
        if late: raise Failed(f"{said}\n{path.name} still ran after {TIMEOUT} s")
        if page.exitcode: raise Failed(f"{said}\n{path.name} ended with exit code {page.exitcode}")


def check_demo():
    with tempfile.TemporaryDirectory() as tmp:
        out = Path(tmp)/"demo"
        log = run("dnd-demo", "--quick", "--out", out)
        missing = [f for f in DEMO_FILES if not any(p.stat().st_size for p in out.glob(f))]
        left = ", ".join(sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()))
        if missing:
            raise Failed(f"{log}\nmissing or empty: {', '.join(missing)}\nit left: {left}")
        json.loads((out/"metrics.json").read_text())


def check_install():
    "Install the package alone and use it elsewhere."
    with tempfile.TemporaryDirectory() as tmp:
        src, site, away = (Path(tmp)/d for d in ("src", "site", "away"))
        away.mkdir()
        # A copy: building leaves a build/ folder whose old files would slip into the next wheel
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PACKAGE, src/PACKAGE.name, ignore=ignore)
        for p in TOP.iterdir():
            if p.is_file(): shutil.copy2(p, src)
        run(sys.executable, "-m", "pip", "install", "-qq", "--no-index", "--no-deps",
            "--no-build-isolation", "--target", site, src)
        run(sys.executable, "-c", USER_SCRIPT, site, cwd=away, PYTHONPATH=str(site))


# What `nbdev_docs` does before it calls Quarto, in a copy
QUARTO_STEP = """
import sys
from nbdev.config import get_config
from nbdev.serve import proc_nbs
assert get_config().config_path.samefile("."), get_config().config_path
proc_nbs(n_workers=0)
"""


def paragraphs(path, kind):
    "Paragraphs of the text cells, or lines of the code cells, of a page as its file has it."
    apart = r"\n\s*\n" if kind == "markdown" else r"\n"
    found = (p.strip() for s in pages.cells(path, kind) for p in re.split(apart, s))
    return [p for p in found if p and not p.startswith("#|")]


def plain(text):
    "A text without the links that nbdev gives to names, and without spaces."
    text = re.sub(r"\[(`[^`]*`)\]\([^)]*\)", r"\1", text)
    return re.sub(r"\s+", "", text)


def lost(page, made):
    "Paragraphs and lines of code of `page` that are not in what the docs build `made` of it."
    cells = json.loads(made.read_text("utf-8"))["cells"]
    there = plain("\n".join("".join(c["source"]) for c in cells))
    first = pages.cells(page, "markdown")[0]
    hidden = "\n".join(s for s in pages.cells(page, "code") if re.match(r"#\|\s*hide\b", s))
    wanted = [*paragraphs(page, "markdown"), *paragraphs(page, "code")]
    wanted = [w for w in wanted if w not in first and w not in hidden]
    return [w for w in wanted if plain(w) not in there and not w.startswith(("%", "#|"))]


def check_docs_build():
    "nbdev's preparation for Quarto ends well and keeps every paragraph and every line of code."
    with tempfile.TemporaryDirectory() as tmp:
        top = Path(tmp)
        shutil.copytree(NBS, top/"nbs", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
        for name in ("settings.ini", "_quarto.yml"): shutil.copy(TOP/name, top)
        shutil.copytree(PACKAGE, top/PACKAGE.name,
                        ignore=shutil.ignore_patterns("__pycache__", "pretrained"))
        said = run(sys.executable, "-c", QUARTO_STEP, cwd=top)
        made = {p: top/"_proc"/p.relative_to(top/"nbs") for p in (top/"nbs").rglob("*.ipynb")}
        bad = [f"{p.name} was not made" for p,m in made.items() if not m.is_file()]
        if bad: raise Failed("\n".join([said, *bad]))
        bad = [f"{p.name} lost {w[:90]!r}" for p,m in made.items() for w in lost(p, m)]
        if bad: raise Failed("\n".join(bad))


def check_site():
    "The site builds from stored outputs: no dead link, no missing or silent picture."
    if not importlib.util.find_spec("smalldocs"): return  # Python 3.10
    run(sys.executable, "site/build.py", "--plain")


def all_checks():
    "Checks that run alone and first, then those that run side by side; a name and a function each."
    first = [("export leaves no diff", check_export), ("clean leaves no diff", check_clean),
             ("README in step with index", check_readme)]
    first += [(f"pages: {k.replace('_', ' ')}", lambda f=f: check_pages(f))
              for k,f in pages.CHECKS.items()]
    side_by_side = [("demo --quick", check_demo), ("docs: nothing is lost", check_docs_build),
                    ("docs: the site has no dead link", check_site),
                    ("install elsewhere, without nbdev", check_install)]
    side_by_side += [(f"notebook {pages.name(p)}", lambda p=p: check_notebook(p))
                     for p in pages.notebooks()]
    return first, side_by_side


def timed(check):
    "Run `check`; return None or why it failed, and the seconds it took."
    start, why = time.time(), None
    try: check()
    except Failed as e: why = str(e)
    except Exception as e: why = f"{type(e).__name__}: {e}"
    return why, time.time() - start


def report(name, why, seconds):
    print(f"{'ok' if why is None else 'FAILED':6} {seconds:6.1f} s  {name}", flush=True)
    if why is not None:
        print("\n".join("    " + l for l in why.strip().splitlines()[-SHOWN_LINES:]), flush=True)
    return why is None


def save_times(path, seconds):
    "Keep the seconds of each page, with the machine; pages that did not run keep what they had."
    old = json.loads(Path(path).read_text())["seconds"] if Path(path).is_file() else {}
    new = {n.removeprefix("notebook "): round(s) for n,s in seconds.items() if "notebook" in n}
    made = dict(date=date.today().isoformat(), cores=os.cpu_count(), pages_at_a_time=JOBS,
                threads_per_page=int(THREADS), python=platform.python_version())
    Path(path).parent.mkdir(exist_ok=True)
    text = json.dumps(dict(made=made, seconds=dict(sorted({**old, **new}.items()))), indent=1)
    Path(path).write_text(text+"\n")


def main(*words, times=None):
    os.environ.update(ENV)  # before the process that pages are tested in copies of
    chosen = lambda checks: [c for c in checks if not words or any(w in c[0] for w in words)]
    first, rest = map(chosen, all_checks())
    if not first + rest:
        names = ", ".join(n for checks in all_checks() for n,_ in checks)
        sys.exit(f"no check is called {' or '.join(words)}; there are: {names}")
    passed, seconds = [report(name, *timed(check)) for name,check in first], {}
    with ThreadPoolExecutor(JOBS) as pool:
        names = {pool.submit(timed, check): name for name,check in rest}
        for f in as_completed(names):
            seconds[names[f]] = f.result()[1]
            passed.append(report(names[f], *f.result()))
    if times: save_times(times, seconds)
    print(f"{sum(passed)} passed, {len(passed) - sum(passed)} failed", flush=True)
    return not all(passed)


if __name__ == "__main__":
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("words", nargs="*", help="only checks whose name contains one of them")
    args.add_argument("--times", help="a JSON file that keeps how long each page took")
    given = args.parse_args()
    sys.exit(main(*given.words, times=given.times))
