"Says whether loading a model loads PyTorch's compiler; started by the page `released`."
import sys

import torch

from dnd_transformer import load_tokenizer, load_transformer

before = "torch._dynamo" in sys.modules  # some versions of PyTorch load it at once
models = load_tokenizer("digits"), load_transformer("digits")
print(isinstance(models[0], torch.nn.Module), "torch._dynamo" in sys.modules and not before)
