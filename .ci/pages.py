"""What a reader would stumble on, found without running a page: `python .ci/pages.py [CHECK ...]`

Each function looks at all notebooks and returns its findings as lines; `checks.py` fails on any.
"""
import json, re, subprocess, sys
from pathlib import Path

import yaml

TOP = Path(__file__).resolve().parent.parent
NBS, PACKAGE = TOP/"nbs", TOP/"dnd_transformer"
MAX_BYTES = 1_000_000
COLUMNS = 100
COURSE_LINES = 250


def notebooks():
    "All pages, the index first, then folder by folder."
    inside = {p: p.relative_to(NBS).parts for p in NBS.rglob("*.ipynb")}
    shown = [p for p,parts in inside.items() if not any(part[0] in "._" for part in parts)]
    return sorted(shown, key=lambda p: (len(inside[p]), p))


def name(path): return path.relative_to(NBS).with_suffix("").as_posix()


def cells(path, kind):
    "Sources of the cells of one kind: `code` or `markdown`."
    found = (c for c in json.loads(path.read_text("utf-8"))["cells"] if c["cell_type"] == kind)
    return ["".join(c["source"]) for c in found]


def exported(source): return bool(re.match(r"#\|\s*exports?\b", source))


def module_of(path):
    "The module that a page makes, such as `toolbox.files`, or None."
    found = re.search(r"^#\|\s*default_exp\s+(\S+)", "\n".join(cells(path, "code")), re.M)
    return found and found[1]


def modules(): return {m: p for p in notebooks() if (m := module_of(p))}


def orphans():
    "Modules that no page makes: nbdev_export never deletes one."
    known = {PACKAGE/(m.replace(".", "/")+".py") for m in modules()}
    known |= {PACKAGE/"_modidx.py", *PACKAGE.rglob("__init__.py")}
    left = (p.relative_to(TOP) for p in PACKAGE.rglob("*.py") if p not in known)
    return [f"no notebook makes {p}: delete it, or bring its notebook back" for p in left]


# Rooms from the ground up. A page imports from rooms below, and in the course from pages before it.
FLOORS = {"toolbox": 0, "course": 1, "models": 2, "evaluation": 2, "cli": 3, "claims": 4}


def wrong_way(path, target, is_export):
    "Whether a page may not import from the page `target`."
    room, other = path.parent.name, target.parent.name
    if room == other == "course": return name(target) > name(path)
    if room == "course" and not is_export: return False  # to show what comes out in the end
    return FLOORS.get(other, 9) > FLOORS.get(room, 9)


def imports_up():
    "Imports that climb the stairs: of an annex above, or in the course of a later page."
    made, bad = modules(), []
    for path in notebooks():
        for source in cells(path, "code"):
            found = re.findall(r"^\s*(?:from|import)\s+dnd_transformer\.([\w.]+)", source, re.M)
            wanted = [m for m in found if m in made]
            own = [m for m in wanted if made[m] == path]
            late = [m for m in wanted if wrong_way(path, made[m], exported(source))]
            bad += [f"{name(path)} imports {m}, which comes later" for m in late]
            bad += [f"{name(path)} imports its own module {m}" for m in own]
    return bad


def first_cells():
    "The docs build deletes the first cell, so that it may hold title and subtitle only."
    shape = re.compile(r"# [^\n]+\n+> [^\n]+\n*")
    return [f"{name(p)}: the first cell must be '# title' and '> subtitle', and nothing else"
            for p in notebooks() if not shape.fullmatch(cells(p, "markdown")[0])]


def mixed_imports():
    "The docs build runs cells with imports: they must hold nothing else that could fail there."
    bad = []
    for path in notebooks():
        for source in cells(path, "code"):
            top = [l for l in source.splitlines() if re.match(r"(from|import)\s", l)]
            rest = [l for l in source.splitlines()
                    if l.strip() and not re.match(r"(from|import|#|\s|\))", l)]
            skipped = re.match(r"#\|\s*(export|exports|eval|slow|cuda)\b", source)
            if top and rest and not skipped:
                bad.append(f"{name(path)}: imports and other code in one cell: {top[0][:60]}")
    return bad


def stored():
    "Pages without stored outputs, with stored errors or this machine's paths, or too large."
    bad = []
    for path in notebooks():
        code = [c for c in json.loads(path.read_text("utf-8"))["cells"] if c["cell_type"] == "code"]
        outputs = [o for c in code for o in c["outputs"]]
        if code and not outputs: bad.append(f"{name(path)} has no stored outputs")
        errors = (o for o in outputs if o["output_type"] == "error")
        bad += [f"{name(path)} stores an error: {o['ename']}: {o['evalue']}" for o in errors]
        private = re.compile(r"/tmp/\w+|/home/\w+|/root\b|"+re.escape(str(TOP)))
        paths = sorted(set(private.findall(json.dumps(outputs))))
        bad += [f"{name(path)} stores the path {found}" for found in paths]
        size = path.stat().st_size
        if size >= MAX_BYTES: bad.append(f"{name(path)} has {size/1e6:.1f} MB")
    hint = ["Run the notebook from top to bottom, save it, then nbdev_clean."]
    return bad and bad+hint


def dead_links():
    "Relative links and pictures that lead nowhere."
    bad = []
    for path in notebooks():
        text = re.sub(r"```.*?```|`[^`\n]*`", "", "\n".join(cells(path, "markdown")), flags=re.S)
        targets = re.findall(r"\]\(([^)\s]+)\)", text)
        for target in targets+re.findall(r"(?:src|href)=\"([^\"]+)\"", text):
            if re.match(r"[a-z][\w+.-]*:|#", target): continue
            if not (path.parent/target.partition("#")[0]).exists():
                bad.append(f"{name(path)} links to {target}, which is not there")
    return bad


def alt_text(source):
    "The description that a code cell gives its figure, read as the docs build reads it."
    options = [l[2:].strip() for l in source.splitlines() if re.match(r"#\|\s*[\w-]+:", l)]
    try: return (yaml.safe_load("\n".join(options)) or {}).get("fig-alt")
    except yaml.YAMLError: return None


def silent_figures():
    "Pictures that say nothing to those who cannot see them: `#| fig-alt: ...` in the cell."
    bad = []
    for path in notebooks():
        empty = "\n".join(cells(path, "markdown")).count("![](")
        if empty: bad.append(f"{name(path)}: {empty} pictures in the text without a description")
        for c in json.loads(path.read_text("utf-8"))["cells"]:
            drawn = [o for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
            source = "".join(c["source"])
            if drawn and not (alt_text(source) or "").strip():
                start = next(l for l in source.splitlines() if not l.startswith("#|"))
                bad.append(f"{name(path)}: no `#| fig-alt: ...` in YAML above {start[:60]}")
    return bad


def shown(path):
    "All numbers in the code and the stored text outputs of a page."
    found = []
    for c in json.loads(path.read_text("utf-8"))["cells"]:
        if c["cell_type"] != "code": continue
        found.append("".join(c["source"]))
        for o in c["outputs"]:
            found.append("".join(o.get("text", o.get("data", {}).get("text/plain", ""))))
            found.append("".join(o.get("data", {}).get("text/html", "")))
    text = re.sub(r"(\d)_(\d)", r"\1\2", "\n".join(found))
    pattern = r"\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?"
    return {float(n.rstrip(",").replace(",", "")) for n in re.findall(pattern, text)}


def stands_in(number, percent, values):
    "Whether a number quoted in prose is one of `values`, perhaps rounded or as a percentage."
    digits = len(number.partition(".")[2])
    wanted, half = float(number.replace(",", "")), .5001*10**-digits
    scales = (1, 100) if percent else (1,)
    return any(abs(v*s-wanted) <= half for v in values for s in scales)


# Code, formulas, link targets, arXiv numbers, sections and versions
NOT_FIGURES = re.compile(r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\]\([^)]*\)|\d{4}\.\d{5}"
                         r"|(?:[Ss]ection|version|Python|torch) \d+(?:\.\d+)*", re.S)
# A decimal or a percentage; `3 %`, `2.5`, `.5`
FIGURE = re.compile(r"(?<![\w.-])(\d[\d,]*\.\d+|\.\d+|\d[\d,]*(?=\s?%))(\s?%)?(?![\w.]*\d)")


def unshown_numbers():
    """Measured figures in prose (decimals and percentages) that no cell of the page shows.

    What others measured is marked: a paragraph with `<!-- quoted -->` is left out.
    """
    bad = []
    for path in notebooks():
        values = shown(path)
        for paragraph in re.split(r"\n\s*\n", "\n\n".join(cells(path, "markdown"))):
            if "<!-- quoted -->" in paragraph: continue
            plain = NOT_FIGURES.sub(" ", paragraph)
            for m in FIGURE.finditer(plain):
                if stands_in(m[1], bool(m[2]), values): continue
                around = plain[max(0, m.start()-40):m.end()+20].replace("\n", " ")
                bad.append(f"{name(path)}: {m[0].strip()!r} in '{around}' stands in no cell")
    return bad


def stale_verdicts():
    "Claims whose verdict in `results/claims/` is not the one that the tables of verdicts show."
    bad = []
    for page in (NBS/"index.ipynb", NBS/"claims"/"index.ipynb"):
        code = [c for c in json.loads(page.read_text("utf-8"))["cells"] if c["cell_type"] == "code"]
        data = [o.get("data", {}) for c in code for o in c["outputs"]]
        rows = "".join("".join(d.get("text/markdown", "")) for d in data).splitlines()
        for path in sorted((TOP/"results"/"claims").glob("*.json")):
            for v in json.loads(path.read_text("utf-8")).get("verdicts", []):
                ends = f"{v['ours']} | **{v['verdict']}** |"
                if any(v["claim"] in r and r.endswith(ends) for r in rows): continue
                bad.append(f"{name(page)} does not show what {path.name} says of {v['claim']!r}")
    return bad and bad+["Run the page again; for index, `make readme` after it."]


def long_lines(path, text):
    "Numbers of lines over the limit, the list of public names apart, which nbdev lays out."
    listed, bad = False, []
    for k,line in enumerate(text.splitlines(), 1):
        listed = listed or line.startswith("__all__")
        if len(line) > COLUMNS and not listed: bad.append(f"{path}:{k} has {len(line)} columns")
        if listed and line.rstrip().endswith("]"): listed = False
    return bad


def lint():
    "Unused and undefined names and long lines, in modules and notebooks."
    files = [*modules().values(), *(p for p in notebooks() if not module_of(p))]
    made = [p for p in PACKAGE.rglob("*.py") if p.name not in ("_modidx.py", "__init__.py")]
    programs = [*NBS.rglob("*.py"), *(TOP/".ci").glob("*.py"), TOP/"setup.py"]
    cmd = [Path(sys.executable).parent/"ruff", "check", "--isolated", "--select", "F", "--quiet",
           "--ignore", "F403,F405,F811", "--output-format", "concise", *files, *made, *programs]
    found = subprocess.run([str(c) for c in cmd], cwd=TOP, capture_output=True, text=True)
    bad = [l for l in (found.stdout+found.stderr).splitlines() if l.strip()]
    for p in [*made, *programs]: bad += long_lines(p.relative_to(TOP), p.read_text("utf-8"))
    for p in files:
        for k,source in enumerate(cells(p, "code")):
            bad += long_lines(f"{name(p)} code cell {k}", source)
    return bad


def sidebar():
    "The sidebar is written by hand: it must name every page, once."
    named = re.findall(r"([\w/]+)\.ipynb", (TOP/"_quarto.yml").read_text("utf-8"))
    there = [name(p) for p in notebooks()]
    return [f"_quarto.yml names {n} {named.count(n)} times, there are {there.count(n)} such pages"
            for n in sorted({*named, *there}) if named.count(n) != 1 or there.count(n) != 1]


def course_size():
    "A course page is one sitting: its code stays within a limit."
    bad = []
    for path in (p for p in notebooks() if p.parent.name == "course"):
        code = (l.strip() for s in cells(path, "code") for l in s.splitlines())
        lines = sum(bool(l) and not l.startswith("#|") for l in code)
        if lines > COURSE_LINES:
            bad.append(f"{name(path)} has {lines} lines of code, over {COURSE_LINES}")
    return bad


def folded():
    "Solutions that stand open in JupyterLab: `code-fold` folds on the site only."
    bad = []
    for path in (p for p in notebooks() if p.parent.name == "course"):
        found = json.loads(path.read_text("utf-8"))["cells"]
        folds = [c for c in found if re.search(r"^#\| code-fold: true", "".join(c["source"]), re.M)]
        left = sum(not c["metadata"].get("jupyter", {}).get("source_hidden") for c in folds)
        if left:
            bad.append(f"{name(path)} has {left} solutions open in JupyterLab: collapse their code "
                       "and outputs there, and save")
    return bad


CHECKS = dict(stored=stored, orphans=orphans, imports_up=imports_up, first_cells=first_cells,
              mixed_imports=mixed_imports, dead_links=dead_links,
              silent_figures=silent_figures, unshown_numbers=unshown_numbers,
              stale_verdicts=stale_verdicts,
              lint=lint, sidebar=sidebar, course_size=course_size, folded=folded)


if __name__ == "__main__":
    bad = [line for k,check in CHECKS.items() if k in (sys.argv[1:] or CHECKS) for line in check()]
    print(*bad, sep="\n")
    sys.exit(bool(bad))
