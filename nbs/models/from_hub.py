"Loads a pair from the Hub's cache and draws; run by `pairs.ipynb`, offline."
import torch

from dnd_transformer import generate, load_pair
from dnd_transformer.sampling import image_uniforms

tok, model, _ = load_pair("me/my-words", device="cpu", revision="main")
numbers = image_uniforms(1, range(2), model.config)
print(generate(model, torch.zeros(2).long(), uniforms=numbers).flatten().tolist())
try: load_pair("me/other")
except FileNotFoundError as e: print(e)
