"""The docs site from the notebooks and their stored outputs; nothing is executed.

    python site/build.py           # with Quarto if it is installed, else with smalldocs
    python site/build.py --plain   # with smalldocs, even if Quarto is installed

nbdev prepares the pages in `_proc/`; here they get what a site needs besides: links to the
notebook and to Colab, anchors for what a page exports, and links that work on a site. The site
goes to `_docs/`, and its links, pictures and sizes are checked: any finding ends in an error.
"""
import argparse, ast, html, os, re, shutil, subprocess, sys, time
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml
from execnb.nbio import mk_cell, read_nb, write_nb
from nbdev.config import get_config
from nbdev.processors import FilterDefaults
from nbdev.quarto import refresh_quarto_yml
from PIL import Image, ImageDraw, ImageFont

TOP = Path(__file__).resolve().parent.parent
HERE, NBS, PAGES, SITE = TOP/"site", TOP/"nbs", TOP/"_proc", TOP/"_docs"
PLAYGROUND = TOP/"_playground"
MAX_BYTES = 2_000_000
DEFS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def cfg(): return get_config(path=TOP)


def on_site(target):
    "A path below `nbs/` as nbdev names it on the site: `course/02_codebook.ipynb` loses its 02."
    return re.sub(r"(^|/)\d+[a-zA-Z0-9]*_([^/]+\.ipynb)", r"\1\2", target)


def link(target, folder):
    "A link as a page in `nbs/folder` writes it, as it works on the site."
    base = f"{cfg().doc_host}{cfg().doc_baseurl}/"
    if target.startswith(base):  # nbdev's links to symbols
        return os.path.relpath(target.removeprefix(base), folder or ".")
    if re.match(r"[a-z][\w+.-]*:|#|/", target): return target
    inside = os.path.normpath(os.path.join(folder, target.partition("#")[0]))
    if not inside.startswith(".."): return on_site(target)
    return f"{cfg().git_url}/blob/{cfg().branch}/{inside.removeprefix('../')}"


def relink(text, folder):
    "Mend the links of a markdown text, blocks of code apart."
    parts = re.split(r"(^```.*?^```)", text, flags=re.M | re.S)
    for k in range(0, len(parts), 2):
        parts[k] = re.sub(r"(\]\()([^)\s]+)", lambda m: m[1]+link(m[2], folder), parts[k])
        parts[k] = re.sub(r"((?:src|href)=\")([^\"]+)", lambda m: m[1]+link(m[2], folder), parts[k])
    return "".join(parts)


def patched(f):
    "The class that a function is patched into, as `Class.`, or nothing."
    is_patch = any(getattr(d, "id", getattr(getattr(d, "func", None), "id", "")) == "patch"
                   for d in f.decorator_list)
    kind = f.args.args[0].annotation if is_patch and f.args.args else None
    return f"{kind.id}." if isinstance(kind, ast.Name) else ""


def names(source):
    "Names that an exported cell defines, methods too, as nbdev's index writes them."
    found = []
    for node in ast.parse(source).body:
        if not isinstance(node, DEFS): continue
        is_class = isinstance(node, ast.ClassDef)
        found.append(node.name if is_class else patched(node)+node.name)
        inner = [n for n in node.body if isinstance(n, DEFS)] if is_class else []
        found += [f"{node.name}.{n.name}" for n in inner]
    return found


def anchors(cell):
    "A markdown cell with an anchor for each name, or nothing."
    if cell.cell_type != "code" or not {"export", "exports"} & cell.directives_.keys(): return []
    spans = "".join(f'<a id="{n.lower()}" class="api"></a>' for n in names(cell.source))
    return [mk_cell(spans, "markdown")] if spans else []


def links_of(path):
    "The line below the title: the page in Colab, and the notebook itself."
    where = f"{cfg().user}/{cfg().repo}/blob/{cfg().branch}/{path.relative_to(TOP).as_posix()}"
    colab = f"https://colab.research.google.com/github/{where}"
    text = (f'<p class="page-links"><a class="badge" href="{colab}">Open in Colab</a> '
            f'<a href="https://github.com/{where}">This notebook</a> '
            f'In Colab, first run <code>%pip install git+{cfg().git_url}</code></p>')
    return mk_cell(text, "markdown")


def prepare_page(path):
    "What nbdev makes of a page, and what the site adds."
    nb, folder = read_nb(path), path.parent.relative_to(NBS).as_posix()
    FilterDefaults()(nb)
    front = yaml.safe_load(nb.cells[0].source.strip().strip("-"))
    del front["output-file"]  # the file has that name here
    nb.cells[0].source = f"---\n{yaml.dump(front)}---\n"
    cells = []
    for cell in nb.cells:
        if not cell.source.strip(): continue
        if cell.cell_type == "markdown": cell.source = relink(cell.source, folder)
        cells += anchors(cell) + [cell]
    if path.parent != NBS: cells.insert(1, links_of(path))
    nb.cells, nb.metadata["language_info"] = cells, {"name": "python"}
    out = PAGES/on_site(path.relative_to(NBS).as_posix())
    out.parent.mkdir(parents=True, exist_ok=True)
    write_nb(nb, out)


def draw_pictures():
    "Favicon and social card, from words that the packaged model drew."
    words = Image.open(NBS/"images/words-samples.png").convert("RGB")
    card = Image.new("RGB", (1200, 630), (18, 32, 60))
    scale = min(1080/words.width, 380/words.height)
    words = words.resize((round(words.width*scale), round(words.height*scale)), Image.NEAREST)
    card.paste(words, ((1200-words.width)//2, 60+(630-words.height)//2))
    write = ImageDraw.Draw(card)
    write.text((60, 50), cfg().title, "white", ImageFont.load_default(64))
    write.text((60, 125), "an image generator that writes, as notebooks", "white",
               ImageFont.load_default(36))
    card.save(PAGES/"card.png", optimize=True)
    icon = Image.new("RGB", (4, 4), "white")  # a stack of four codes, coarse to fine
    for y in range(4):
        for x in range(4-y): icon.putpixel((x, y), (0, 51+40*y, 170))
    icon.resize((64, 64), Image.NEAREST).save(PAGES/"favicon.png", optimize=True)


def prepare(plain):
    "All pages and what they need, in `_proc/`."
    shutil.rmtree(PAGES, ignore_errors=True)
    refresh_quarto_yml()
    skip = shutil.ignore_patterns("*.ipynb", "__pycache__", ".*", "golden")
    shutil.copytree(NBS, PAGES, ignore=skip)
    for path in sorted(NBS.rglob("*.ipynb")):
        if ".ipynb_checkpoints" not in path.parts: prepare_page(path)
    for css in HERE.glob("*.css"): shutil.copy(css, PAGES)
    draw_pictures()
    text = (TOP/"_quarto.yml").read_text("utf-8")
    conf = yaml.safe_load(re.sub(r"[\w/]+\.ipynb", lambda m: on_site(m[0]), text))
    conf["website"] |= dict(favicon="favicon.png", image="card.png")
    conf["format"]["html"]["css"] = ["style.css", "smalldocs.css"] if plain else "style.css"
    if PLAYGROUND.is_dir():  # `make playground` has built it
        shutil.copytree(PLAYGROUND, PAGES/"playground")
        entry = dict(text="Playground", href="playground/index.html")
        conf["website"]["navbar"]["right"] = [entry]
    conf["project"] |= {"output-dir": f"../{SITE.name}", "resources": ["playground", "card.png"]}
    (PAGES/"_quarto.yml").write_text(yaml.dump(conf, sort_keys=False), "utf-8")


def formulas(text):
    "Formulas as MathML, which browsers show without a script or a network."
    from latex2mathml.converter import convert
    def mathml(m):
        kind, tex = m[1], html.unescape(m[2])[2:-2].strip()
        made = convert(tex, display="block" if kind == "display" else "inline")
        focus = ' tabindex="0"' if kind == "display" else ""  # it scrolls on a phone
        return f'<span class="math math-{kind}"{focus}>{made}</span>'
    text = re.sub(r'<(?:link|script)[^>]*/katex[^>]*>(?:</script>)?', "", text)
    return re.sub(r'<span class="math (inline|display)">(.*?)</span>', mathml, text, flags=re.S)


def repair(text):
    "What smalldocs leaves to be done in a page."
    text = formulas(text).replace('role="navigation"', 'role="button" tabindex="0"')
    text = re.sub(r'<pre(?=[ >])(?![^>]*tabindex)', '<pre tabindex="0"', text)
    return re.sub(r'<a class="quarto-color-scheme-toggle nav-link"',
                  r'\g<0> role="button" aria-label="Toggle dark mode"', text)


def render(plain):
    "The site from `_proc/`, with Quarto or with smalldocs."
    if not plain:
        subprocess.run(["quarto", "render", "--no-execute"], cwd=PAGES, check=True)
        return "Quarto"
    try: from smalldocs.site import build
    except ImportError:
        sys.exit("Without Quarto the site needs smalldocs, which needs Python 3.11 or later: "
                 "pip install 'dnd-transformer[docs]'")
    shutil.rmtree(SITE, ignore_errors=True)
    site = build(PAGES, quiet=True)
    for w in site.warnings:
        if "format.html" not in w: print("smalldocs:", w)  # options for Quarto alone
    for path in SITE.rglob("*.html"):
        if "playground" in path.parts: continue
        path.write_text(repair(path.read_text("utf-8")), "utf-8")
    for css in SITE.glob("site_libs/themes/*.css"):  # the themes load fonts from elsewhere
        css.write_text(re.sub(r"@import url\([^)]*\);?", "", css.read_text("utf-8")), "utf-8")
    return "smalldocs"


class Targets(HTMLParser):
    "Links, pictures, ids and pictures without a description of one page."
    def __init__(self, path):
        super().__init__()
        self.links, self.ids, self.silent = [], Counter(), 0
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if "id" in a: self.ids[a["id"]] += 1
        if tag == "img" and not a.get("alt"): self.silent += 1
        wanted = {"a": "href", "link": "href", "img": "src", "script": "src"}.get(tag)
        if a.get(wanted): self.links.append(a[wanted])


def leads(target, path, pages):
    "Whether a link of the page `path` arrives; what needs a network is not followed."
    parts = urlsplit(target)
    if parts.scheme or parts.netloc: return True
    file = (path.parent/unquote(parts.path)).resolve() if parts.path else path
    if file.is_dir(): file /= "index.html"
    if not file.is_file() or SITE not in file.parents: return False
    known = pages.get(file)
    return not parts.fragment or known is None or unquote(parts.fragment) in known.ids


def findings():
    "What is wrong with the site, and how many links were followed."
    pages = {p: Targets(p) for p in SITE.rglob("*.html") if "site_libs" not in p.parts}
    bad, followed = [] if pages else ["no page was made"], 0
    for path,page in pages.items():
        here = path.relative_to(SITE)
        followed += len(page.links)
        bad += [f"{here}: dead link {t}" for t in page.links if not leads(t, path, pages)]
        if page.silent: bad.append(f"{here}: {page.silent} pictures without a description")
        own = f"{cfg().doc_host}{cfg().doc_baseurl}/"
        bad += [f"{here} leaves the site for {t}" for t in page.links if t.startswith(own)]
        size = path.stat().st_size
        if size > MAX_BYTES: bad.append(f"{here} has {size/1e6:.1f} MB")
        outside = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(https?:[^"]+)',
                             path.read_text("utf-8"))
        bad += [f"{here} needs a network for {t}" for t in outside if cfg().doc_host not in t]
    return bad, followed, len(pages)


def main(plain):
    os.chdir(TOP)
    start, plain = time.time(), plain or not shutil.which("quarto")
    prepare(plain)
    made_by = render(plain)
    bad, followed, count = findings()
    size = sum(p.stat().st_size for p in SITE.rglob("*") if p.is_file())
    print(f"_docs/: {count} pages by {made_by}, {size/1e6:.1f} MB, {followed} links followed, "
          f"{time.time()-start:.0f} s")
    if bad: sys.exit("\n".join(bad))


if __name__ == "__main__":
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--plain", action="store_true", help="smalldocs, even with Quarto installed")
    main(args.parse_args().plain)
