"""The playground as a folder of static files: python site/playground/build.py FOLDER [MODEL ...]

It needs npm once, for onnxruntime-web. Any static server can show the folder.
"""
import argparse, gzip, shutil, subprocess, sys
from pathlib import Path

from dnd_transformer.models.checkpoints import load_tokenizer, load_transformer
from dnd_transformer.models.onnx import export_onnx

HERE = Path(__file__).parent
PAGE = ["index.html", "playground.css", "playground.js", "sampling.js"]
RUNTIME = HERE/"node_modules/onnxruntime-web/dist"
MODELS = ["words", "phrases", "digits"]


def build(out, models):
    "Write page, runtime and models to `out`; models that are there already are kept."
    if not RUNTIME.is_dir():
        sys.exit(f"{RUNTIME} is not there: run `npm ci` in site/playground first")
    (out/"models").mkdir(parents=True, exist_ok=True)
    for name in PAGE: shutil.copy(HERE/name, out)
    shutil.copy(RUNTIME/"ort.wasm.bundle.min.mjs", out)
    wasm = (RUNTIME/"ort-wasm-simd-threaded.wasm").read_bytes()
    (out/"ort.wasm.gz").write_bytes(gzip.compress(wasm, mtime=0))
    for name in models:
        if (out/"models"/name).is_dir(): continue
        print(f"Exporting {name}, about half a minute", flush=True)
        export_onnx(load_transformer(name), load_tokenizer(name), out/"models"/name)


if __name__ == "__main__":
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("out", type=Path, help="folder to write")
    args.add_argument("models", nargs="*", default=MODELS, help="models of the package")
    given = args.parse_args()
    build(given.out, given.models)
    files = [p for p in given.out.rglob("*") if p.is_file()]
    size = sum(p.stat().st_size for p in files)
    print(f"{given.out}: {len(files)} files, {size/1e6:.1f} MB; "
          f"look at it with: python -m http.server --directory {given.out}")
