"""What a recipe is made into: a loader, what it reads, a model."""

from __future__ import annotations

from collections.abc import Callable

import torch

from .activations import checkpoint_blocks
from .checkpoint import Checkpoint
from .compiling import compile_losses
from .contracts import DataSpec, Loader
from .groups import freeze
from .model import Model, ModelContext
from .norms import set_norms
from .recipe import Recipe
from .seeding import hash_key
from .weights import initialise, read_weights, restore


def build_loader(recipe: Recipe) -> Loader:
    return recipe.plugin("loader").build()


def data_spec(recipe: Recipe, split: str) -> DataSpec:
    """What a split of the recipe reads, with its transforms built."""
    data = recipe.data
    return DataSpec(
        recipe.data_spec_sources(split), recipe.tasks, recipe.classes, None if data.cameras is None else tuple(data.cameras),
        recipe.build_transforms(), recipe.seed, tuple(data.lidars), data.clip.frames, data.clip.stride,
    )  # fmt: skip


def build_model(recipe: Recipe, say: Callable[[str], None] = print, checkpoint: Checkpoint | None = None,
                kind: str = "weight") -> Model:  # fmt: skip
    """The recipe's model: from ``checkpoint`` where there is one (of ``kind`` ``ema``: the running mean that it holds), else
    from ``model.init_from``, else from the seed."""
    torch.manual_seed(hash_key(recipe.seed, "model") >> 1)
    model = recipe.plugin("model").build(ModelContext(recipe.tasks, recipe.classes))
    set_norms(model, recipe.model.norm)
    if checkpoint is not None:
        restore(model, checkpoint, kind)
    elif (source := recipe.model.init_from) is not None:
        tensors = model.published_weights(source.path) or model.own_names(read_weights(source.path))
        loaded = initialise(model, tensors, source.include, source.exclude, source.rename)
        say(f"model.init_from {source.path}: {loaded}")
    return model


def prepare(model: Model, recipe: Recipe) -> Model:
    """What training alone does to a model: parts of it are frozen, computed twice, compiled."""
    freeze(model, recipe.optimizer.freeze)
    checkpoint_blocks(model, recipe.train.activation_checkpointing)
    if recipe.train.compile:
        compile_losses(model)
    return model
