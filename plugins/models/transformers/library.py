"""What our models of transformers share: configurations with near matches for what is misspelt, and weights of a folder."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from drivetrain import UserError, near_matches

from .config import ArchitectureConfig, Fields

try:
    import transformers
except ImportError as error:
    raise UserError(f"this model needs transformers, which does not import here: {error}",
                    remedy="pip install 'drivetrain[transformers]'") from error  # fmt: skip

_OF_CLASSES = ("num_labels", "id2label", "label2id")
_OF_FILES = ("architectures", "transformers_version", "dtype", "torch_dtype", "_name_or_path")
_WHERE = "model.config"


def configuration(
    kind: type[Any], given: ArchitectureConfig, sizes: Mapping[str, Fields], classes: tuple[str, ...], **ours: Any
) -> Any:
    """An instance of transformers' configuration ``kind``: the size's or the folder's fields, those of the recipe over them,
    then ``ours``, which a recipe cannot set. Raises UserError for what is unknown, not allowed or of another type."""
    base = sizes[given.size] if given.size is not None else given.folder
    assert isinstance(base, dict), "a size or a folder, read when the recipe was checked"
    fields = _merged({name: value for name, value in base.items() if name not in (*_OF_CLASSES, *_OF_FILES)}, given.config)
    if _asks_for_weights(fields):
        raise UserError("weights of a backbone are not fetched", where=_WHERE,
                        remedy="leave use_pretrained_backbone out, and read weights with model.init_from")  # fmt: skip
    _check_names(kind, given.config, {*_OF_CLASSES, *ours})
    names = dict(enumerate(classes))
    try:
        return kind(**{**fields, **ours, "id2label": names, "label2id": {name: n for n, name in names.items()}})
    except Exception as error:  # transformers raises what it likes, by version
        said = " ".join(str(error).split())
        raise UserError(f"transformers' {kind.__name__} refuses its fields: {said}", where=_WHERE) from error


def built(architecture: type[Any], configuration: Any) -> Any:
    """The network, from the seed. Raises UserError where the fields do not fit each other."""
    try:
        return architecture(configuration)
    except (ValueError, TypeError, IndexError, RuntimeError, AttributeError) as error:
        raise UserError(f"transformers cannot build {architecture.__name__}: {error}", where=_WHERE,
                        remedy="the fields of the configuration do not fit each other") from error  # fmt: skip


def saved_weights(architecture: type[Any], name: str) -> Mapping[str, Tensor] | None:
    """The weights in the folder ``name``, written by save_pretrained, as transformers reads them: it renames those of its
    older versions. None where it is no such folder. Raises UserError where they do not read."""
    folder = Path(name).expanduser()
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")) | any(folder.glob("*.bin")):
        return None
    try:
        with torch.random.fork_rng(devices=[]):  # it builds another model, at random
            return architecture.from_pretrained(folder, local_files_only=True, dtype=torch.float32).state_dict()
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError) as error:
        raise UserError(f"{folder}: its weights do not read: {error}", where="model.init_from.path") from error


def _check_names(kind: type[Any], fields: Fields, ours: Collection[str]) -> None:
    """Raises UserError for fields that ``kind`` does not have, those of its backbone among them, and for ``ours``."""
    for name in fields:
        if name in ours:
            raise UserError(f"{name} follows from the recipe and cannot be set", where=f"{_WHERE}.{name}")
    _known(kind, fields, _WHERE)
    backbone = fields.get("backbone_config")
    if isinstance(backbone, dict):
        model_type = backbone.get("model_type", "rt_detr_resnet")
        with contextlib.suppress(KeyError):  # a type that transformers does not know, which it says itself
            _known(transformers.CONFIG_MAPPING[model_type], backbone, f"{_WHERE}.backbone_config")


def _known(kind: type[Any], fields: Fields, where: str) -> None:
    own = kind()
    known = {*own.to_dict(), *own.attribute_map, "out_indices", "out_features"} - {*_OF_FILES, *_OF_CLASSES}
    for name in fields:
        if name not in known:
            raise UserError(f"transformers' {kind.__name__} has no field {name!r}", where=f"{where}.{name}",
                            near=near_matches(name, sorted(known)),
                            remedy=f"its fields: {', '.join(sorted(known))}")  # fmt: skip


def _merged(base: Fields, over: Fields) -> Fields:
    """``over`` on top of ``base``, mappings into mappings; one of another model_type takes the whole place."""
    out = dict(base)
    for name, value in over.items():
        old = out.get(name)
        is_same = isinstance(old, dict) and isinstance(value, dict)
        if is_same and value.get("model_type", old.get("model_type")) == old.get("model_type"):  # type: ignore[union-attr]
            out[name] = _merged(old, value)  # type: ignore[arg-type]
        else:
            out[name] = value
    return out


def _asks_for_weights(fields: Fields) -> bool:
    return any(
        (name == "use_pretrained_backbone" and value) or (isinstance(value, dict) and _asks_for_weights(value))
        for name, value in fields.items()
    )
