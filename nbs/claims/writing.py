"""Lines that the packaged `phrases` draws, read and measured: writing.py OUT [--work FOLDER]

OUT is `results/claims/writing.json`. FOLDER keeps every finished part, so that a killed run goes
on with the next one. Beside the packaged model: a smaller one, trained on the same pictures with
three seeds, and the same on plain letters, without pictures.
"""
import argparse, math, random, time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import TensorDataset

from dnd_transformer.codes import extract_codes
from dnd_transformer.models.checkpoints import load_tokenizer, load_transformer
from dnd_transformer.perplexity import NGramLM, SHUFFLES, perplexity, shuffle_words, single_spaces
from dnd_transformer.sampler import Sampler
from dnd_transformer.toolbox.claims import save_claim, verdict
from dnd_transformer.toolbox.files import load_json, save_json, set_seed
from dnd_transformer.toolbox.reading import RapidReader
from dnd_transformer.toolbox.tables import bootstrap_interval
from dnd_transformer.toolbox.text import PhraseImages, docs_text, held_out, phrases, sentences
from dnd_transformer.toolbox.transformer_settings import TRANSFORMER_TRAININGS, TRANSFORMERS
from dnd_transformer.training import train_transformer
from dnd_transformer.transformer import DnDTransformer

PAGE = "claims/writing.ipynb"
N, TEMPERATURES, SEEDS = 200, (.1, .5, 1.), (0, 1, 2)
LETTERS = " abcdefghijklmnopqrstuvwxyz"
LENGTH = 18  # letters in a row of plain letters; no line has more
WORDS_EXIST, NEW = .95, .5  # what the rule asks for
SMALL = replace(TRANSFORMERS["phrases"], dim=96, n_layer=4, head_layers=None)
SHORT = replace(TRANSFORMER_TRAININGS["phrases"], steps=250, lr=3e-3)


# Drawing and reading

def draw(model, temperature, seed, n=N):
    "Codes of `n` lines."
    generator, labels = torch.Generator().manual_seed(seed), torch.zeros(n, dtype=torch.long)
    return Sampler(model)(labels, temperature=temperature, generator=generator)


def by_columns(images):
    "What stands where a letter can stand: `(b, 17, 128)` pixels."
    return images[..., 2:-6].unfold(3, 8, 8).permute(0, 3, 1, 2, 4).flatten(2)


def nearest_letters(images):
    "A reader that knows where letters stand, and takes the one whose picture is most alike."
    signs = by_columns(torch.stack([PhraseImages([f"a{c}"])[0][0] for c in LETTERS]))[:, 1]
    nearest = torch.cdist(by_columns(images), signs[None]).argmin(-1)
    return ["".join(LETTERS[i] for i in row) for row in nearest.tolist()]


# Measures of lines of text

class Book:
    "The text that was learnt, and two judges that count in the other half."
    def __init__(self):
        text = docs_text()
        self.learned, other = (phrases(part) for part in held_out(sentences(text)))
        self.words = {w.strip(".,;:()") for w in text.lower().split()}
        self.text = "\n".join(f" {line} " for line in self.learned)
        counted = set(other)
        unseen = [line for line in self.learned if line not in counted]
        self.truth = random.Random(0).sample(unseen, 2*N)
        self.sign = {w: chr(0x4e00+i) for i,w in enumerate(sorted(self.words))}
        self.judges = dict(letters=NGramLM(other), words=NGramLM(self.as_signs(other), n=3))
        self.table = np.array([[ord(c) for c in line.ljust(LENGTH)] for line in self.learned])
        self.lengths = np.array([len(line) for line in self.learned])

    def as_signs(self, lines):
        "Each word as one character, for a judge that counts words; unknown ones are all alike."
        return ["".join(self.sign.get(w, "?") for w in line.split()) for line in lines]

    def perplexity(self, lines, judge):
        "Perplexity of lines, and how many times higher it is with the words of each line shuffled."
        signs = self.as_signs if judge == "words" else lambda lines: lines
        texts, lm = signs(lines), self.judges[judge]
        (nats, tokens), (mixed, _) = lm(texts), lm(signs(shuffle_words(lines)))
        interval = [math.exp(x) for x in bootstrap_interval(mixed-nats, tokens)]
        ratio = math.exp((mixed-nats).sum()/tokens.sum())
        return perplexity(texts, lm) | dict(shuffled=dict(ratio=ratio, interval=interval))

    def distance(self, line):
        "Edits from `line` to the nearest line that was learnt; compared with all at once."
        row = np.tile(np.arange(LENGTH+1), (len(self.table), 1))
        for i,c in enumerate(line, 1):
            above, row = row, np.full_like(row, i)
            changed = np.minimum(above[:, :-1]+(self.table != ord(c)), above[:, 1:]+1)
            for k in range(LENGTH): row[:, k+1] = np.minimum(changed[:, k], row[:, k]+1)
        return int(row[np.arange(len(row)), self.lengths].min())


def share(counts, of=None):
    "A share with its 95 % interval over lines."
    of = [1]*len(counts) if of is None else of
    return dict(share=float(sum(counts)/sum(of)), interval=bootstrap_interval(counts, of))


def measures(lines, book, nearest=0):
    "What can be said about lines of text; edit distances of the first `nearest` new ones."
    lines = [line.lower() for line in single_spaces(lines)]
    words = [line.split() for line in lines]
    exist = [sum(w in book.words for w in ws) for ws in words]
    right = [0 < n == len(ws) for ws,n in zip(words, exist)]
    new = [f" {line} " not in book.text for line in lines]
    good = [a and b for a,b in zip(right, new)]
    some = [line for line,ok in zip(lines, good) if ok][:nearest]
    return dict(
        words_exist=share(exist, [len(ws) for ws in words]), lines_right=share(right),
        new=share(new), new_and_right=share(good), distinct=len(set(lines))/len(lines),
        lines=len(lines), shown=lines[:12], new_shown=some[:12],
        distances=[book.distance(line) for line in some],
        ppl={judge: book.perplexity(lines, judge) for judge in book.judges})


# What is measured

def drawn(book, reader, tok, model, temperature, seed):
    "Draw lines, read them with both readers, and measure what was read."
    with torch.no_grad(): images = tok.decode(draw(model, temperature, seed))
    return dict(read=measures(reader(images), book, 50),
                columns=measures(nearest_letters(images), book))


def clean(book, reader, tok):
    "What the reader makes of real lines and of their reconstructions: the floor of all shares."
    data = PhraseImages(book.truth[:N])
    images = torch.stack([data[i][0] for i in range(N)])
    read = dict(drawn=reader(images), reconstructed=reader(tok.decode(tok.encode(images))),
                columns=[line.strip() for line in nearest_letters(images)])
    return {k: measures(v, book)|dict(exact=float(np.mean([a == b for a,b in zip(v, data.texts)])))
            for k,v in read.items()}


def scale(book):
    "The truth and what is made of it by shuffling, for both judges."
    texts = dict(truth=book.truth, **{name: f(book.truth) for name,f in SHUFFLES.items()})
    return {judge: {name: book.perplexity(lines, judge) for name,lines in texts.items()}
            for judge in book.judges}


def train(config, data, seed, folder):
    "A small model on codes or letters."
    set_seed(seed)
    model = DnDTransformer(config)
    train_transformer(model, data, replace(SHORT, seed=seed), folder, resume=folder.exists())
    return model


def small(book, reader, tok, seed, folder):
    "The small model on pictures, one seed."
    store = extract_codes(tok, PhraseImages(book.learned), folder/"codes")
    model = train(SMALL, store, seed, folder/f"small-{seed}")
    return drawn(book, reader, tok, model, .5, seed)


def letters(book, seed, folder):
    "The small model on plain letters: a single row of 18 signs, one code each."
    signs = torch.tensor([[LETTERS.index(c) for c in line.ljust(LENGTH)] for line in book.learned])
    data = TensorDataset(signs.view(-1, 1, LENGTH, 1), torch.zeros(len(signs), dtype=torch.long))
    config = replace(SMALL, grid=(1, LENGTH), depth=1, codebook_size=len(LETTERS),
                     head_layers=None)
    codes = draw(train(config, data, seed, folder/f"letters-{seed}"), .5, seed)
    lines = ["".join(LETTERS[i] for i in row) for row in codes.flatten(1).tolist()]
    return dict(read=measures(lines, book, 50))


def plan(folder):
    "Name and work of each part; one that has its file in `folder` is done."
    tok, reader, book = load_tokenizer("phrases"), RapidReader(), Book()
    model = load_transformer("phrases")
    yield "scale", lambda: scale(book)
    yield "clean", lambda: clean(book, reader, tok)
    for t in TEMPERATURES:
        for seed in SEEDS if t == .5 else [0]:
            yield f"T{t}-{seed}", lambda: drawn(book, reader, tok, model, t, seed)
    for seed in SEEDS:
        yield f"small on letters-{seed}", lambda: letters(book, seed, folder)
        yield f"small on pictures-{seed}", lambda: small(book, reader, tok, seed, folder)


# The verdict

def decided(values, limit, small):
    "The rule: `values` of the packaged model's sets against `limit`; `small`: of small models."
    spread = max(small)-min(small)
    if min(values)-limit > spread: return "holds"
    return "does not hold" if limit-max(values) > spread else "cannot be told at this scale"


def numbers(parts):
    "For each question: values of the packaged model's sets, the limit, values of the small models."
    names = "T0.5", "small on pictures"
    sets, small = ([parts[f"{k}-{s}"]["read"] for s in SEEDS] for k in names)
    mixed = parts["scale"]["letters"]["shuffled_words"]["interval"][0]
    ends = lambda found: [-math.log(f["ppl"]["letters"]["interval"][1]) for f in found]
    shares = lambda found, name: [f[name]["share"] for f in found]
    return dict(spelling=(shares(sets, "words_exist"), WORDS_EXIST, shares(small, "words_exist")),
                new=(shares(sets, "new_and_right"), NEW, shares(small, "new_and_right")),
                order=(ends(sets), -math.log(mixed), ends(small)))


def conclude(parts):
    "Three verdicts, one for each question."
    found, paper = numbers(parts), "No figure of this kind."
    words = {k: decided(*v) for k,v in found.items()}
    (exist, _, few), (new, _, other), (ends, limit, _) = found.values()
    percent = lambda xs: f"{min(xs):.1%} to {max(xs):.1%}"
    return [
        verdict("It spells: at T .5, at least 95 % of the words that are read exist.", paper,
                f"{percent(exist)} in three sets; three small trainings {percent(few)}",
                words["spelling"]),
        verdict("It invents: at T .5, half of its lines are new, and all of their words exist.",
                paper, f"{percent(new)} in three sets; three small trainings {percent(other)}",
                words["new"]),
        verdict("It orders words: at T .5, PPL-OCR lies below that of real words shuffled.",
                "PPL-OCR over temperature beside that of real text and of a diffusion model "
                "(Figure 7).",
                f"the 95 % intervals of three sets end at {math.exp(-max(ends)):.2f} to "
                f"{math.exp(-min(ends)):.2f}; that of shuffled words begins at "
                f"{math.exp(-limit):.2f}", words["order"])]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("out")
    ap.add_argument("--work", default="runs/writing", help="keeps what is done")
    args = ap.parse_args()
    torch.set_num_threads(1)
    folder, parts = Path(args.work), {}
    folder.mkdir(parents=True, exist_ok=True)
    for name,work in plan(folder):
        path = folder/f"{name}.json"
        if not path.is_file():
            start = time.process_time()
            save_json(dict(work(), cpu_seconds=time.process_time()-start), path)
            print(name, round(time.process_time()-start), "s", flush=True)
        parts[name] = load_json(path)
    seconds = sum(part["cpu_seconds"] for part in parts.values())
    save_claim(args.out, PAGE, conclude(parts), SEEDS, seconds, parts=parts)


if __name__ == "__main__": main()
