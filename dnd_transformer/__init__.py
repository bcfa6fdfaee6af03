__version__ = "0.1.0"

# What `from dnd_transformer import ...` offers; imported on first use, since torch takes seconds
_HOME = {
    "DnDPipeline": "dnd_transformer.pipeline",
    "load_tokenizer": "dnd_transformer.models.checkpoints",
    "load_transformer": "dnd_transformer.models.checkpoints",
    "load_pair": "dnd_transformer.models.pairs",
    "save_pair": "dnd_transformer.models.pairs",
    "push_pair": "dnd_transformer.models.publishing",
    "generate": "dnd_transformer.sampling",
}
__all__ = [*_HOME]


def __getattr__(name):
    if name not in _HOME: raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module
    return getattr(import_module(_HOME[name]), name)
