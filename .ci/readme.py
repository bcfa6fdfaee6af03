"""README.md from nbs/index.ipynb: nbdev's processing, then nbconvert, without Quarto.

    python .ci/readme.py            # write README.md, and pictures that are outputs
    python .ci/readme.py --check    # only say whether they are in step

Links and pictures are written as they work in `nbs/` (`images/words.png`, `../CONTRIBUTING.md`);
here they become paths from the top, as GitHub wants them.
"""
import os, re, shutil, sys
from pathlib import Path

import nbformat
from execnb.nbio import nb2str, read_nb
from nbconvert import MarkdownExporter
from nbdev.processors import FilterDefaults, clean_magics, filter_stream_, hide_, hide_line
from nbdev.processors import populate_language, rm_export, rm_header_dash, strip_ansi

TOP = Path(__file__).resolve().parent.parent
INDEX, README, PICTURES = TOP/"nbs/index.ipynb", TOP/"README.md", TOP/"nbs/images/readme"
NOTICE = "<!-- Made from nbs/index.ipynb by `make readme`: edit the notebook, not this file -->\n\n"


def quarto_options(cell):
    "Obey `echo`, `output` and `include` set to false, which nbdev leaves to Quarto."
    if cell.cell_type != "code": return
    off = {k for k, v in cell.directives_.items() if v == ["false"]}
    cell.source = re.sub(r"^#\|.*\n?", "", cell.source, flags=re.M)
    if "include:" in off: del cell["source"]
    if "output:" in off: cell.outputs = []
    if "echo:" in off: cell.metadata["transient"] = {"remove_source": True}


class ReadmeProcs(FilterDefaults):
    "nbdev's processors, less those for API pages and for links into the docs site."
    def base_procs(self):
        return [populate_language, strip_ansi, hide_line, filter_stream_, rm_header_dash,
                rm_export, clean_magics, hide_, quarto_options]


def from_top(target):
    "A link as written in `nbs/`, as a path from the top."
    if re.match(r"[a-z][\w+.-]*:|#|/", target): return target
    path, hash_, anchor = target.partition("#")
    rel = os.path.normpath(Path("nbs")/path)
    if not (TOP/rel).exists():
        raise SystemExit(f"nbs/index.ipynb links to {target}, which is not there")
    return Path(rel).as_posix() + hash_ + anchor


def outside_code(f, text):
    "Apply `f` to a markdown text, fenced code blocks apart."
    parts = re.split(r"(^```.*?^```)", text, flags=re.M | re.S)
    parts[::2] = [f(p) for p in parts[::2]]
    return "".join(parts)


def relink(text):
    "Rewrite relative links and pictures."
    text = re.sub(r"(\]\()([^)\s]+)", lambda m: m[1] + from_top(m[2]), text)
    return re.sub(r"(\b(?:src|href)=\")([^\"]+)", lambda m: m[1] + from_top(m[2]), text)


def fewer_blanks(text):
    "nbconvert's runs of blank lines as one."
    return re.sub(r"\n(?:[ \t]*\n){2,}", "\n\n", text)


def readme():
    "The text of README.md, and the pictures among its outputs by file name."
    nb = read_nb(INDEX)
    ReadmeProcs()(nb)
    for c in nb.cells:
        if c.cell_type == "markdown": c.source = outside_code(relink, c.source)
        for shown in (o.get("data", {}) for o in c.get("outputs", [])):
            text = shown.get("text/markdown")
            if text: shown["text/markdown"] = relink("".join(text))
    # nbdev_clean drops the language, which names the code blocks
    nb.metadata["language_info"] = {"name": "python"}
    exporter = MarkdownExporter()
    where = {"output_files_dir": PICTURES.relative_to(TOP).as_posix()}
    plain = nbformat.reads(nb2str(nb), as_version=4)
    text, res = exporter.from_notebook_node(plain, resources=where)
    made = {Path(k).name: v for k,v in res.get("outputs", {}).items()}
    return NOTICE + outside_code(fewer_blanks, text).strip() + "\n", made


def readme_text(): return readme()[0]


def out_of_step():
    "Names of the files that are not what the notebook makes."
    text, pictures = readme()
    old = {p.name: p.read_bytes() for p in PICTURES.glob("*")} if PICTURES.exists() else {}
    bad = [] if README.exists() and README.read_text("utf-8") == text else ["README.md"]
    different = (k for k in sorted({*old, *pictures}) if old.get(k) != pictures.get(k))
    return bad + [f"{PICTURES.relative_to(TOP)}/{k}" for k in different]


def write():
    text, pictures = readme()
    README.write_text(text, encoding="utf-8")
    shutil.rmtree(PICTURES, ignore_errors=True)
    if pictures: PICTURES.mkdir(parents=True)
    for k, v in pictures.items(): (PICTURES/k).write_bytes(v)


if __name__ == "__main__":
    if "--check" not in sys.argv[1:]: write()
    elif bad := out_of_step():
        sys.exit(f"out of step with nbs/index.ipynb: {', '.join(bad)}\n"
                 "Run `make readme` and commit the result.")
