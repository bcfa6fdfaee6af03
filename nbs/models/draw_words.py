"The hundred words of the page on generation: draw_words.py FOLDER [PROCESSES]"
import sys

from dnd_transformer.models.checkpoints import load_tokenizer, load_transformer
from dnd_transformer.models.generation import DrawRequest, generate_images
from dnd_transformer.toolbox.processes import processes

if __name__ == "__main__":
    request = DrawRequest(count=100, seed=7, temperature=.5)
    with processes("cpu"):
        model, tok = load_transformer("words"), load_tokenizer("words")
        generate_images(model, tok, sys.argv[1], request, processes=int((sys.argv[2:]+[1])[0]))
