"""Weights from elsewhere: ``model.init_from`` and ``drivetrain weights import``."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .checkpoint import Checkpoint, newest_checkpoint, persistent_buffers
from .errors import CheckpointError, near_matches
from .files import write_aside

_WRAPPERS = ("state_dict", "model", "model_state_dict", "module")


def weights_folder() -> Path:
    """``$DRIVETRAIN_WEIGHTS``, or a folder in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.environ.get("DRIVETRAIN_WEIGHTS", f"{cache}/drivetrain/weights")).expanduser()


def read_weights(name: str) -> dict[str, Tensor]:
    """A state dict from a run or a checkpoint (its running mean, where there is one), a ``.safetensors`` or ``.pth`` file, or
    a name in `weights_folder`.

    Raises CheckpointError where there is nothing of that name, or it is no state dict.
    """
    path = Path(name).expanduser()
    if (path / "run.json").is_file():
        found = newest_checkpoint(path / "checkpoints", tell=print)
        if found is None:
            raise CheckpointError(f"init_from: run {path} has no whole checkpoint")
        return found.weights("ema")
    if path.is_dir():
        return Checkpoint(path).weights("ema")
    if path.is_file():
        return read_state_dict(path)
    imported = weights_folder() / f"{name}.safetensors"
    if imported.is_file():
        return read_state_dict(imported)
    known = sorted(p.stem for p in weights_folder().glob("*.safetensors"))
    raise CheckpointError(
        f"init_from: {name!r} is neither a run, a checkpoint, a file, nor a name in {weights_folder()}",
        near=near_matches(name, known), remedy="bring a file in with: drivetrain weights import FILE.pth",
    )  # fmt: skip


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, by name; nothing in it is executed (``weights_only``)."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        value: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError) as error:
        raise CheckpointError(f"{path} is no file of weights: {error}") from error
    except Exception as error:  # torch.load raises pickle's own errors
        first = str(error).split("\n")[0]
        remedy = "save a plain state dict where the file is from: torch.save(model.state_dict(), ...)"
        raise CheckpointError(f"{path} holds more than tensors, and is not executed: {first}", remedy=remedy) from error
    for wrapper in _WRAPPERS:
        if isinstance(value, Mapping) and isinstance(value.get(wrapper), Mapping):
            value = value[wrapper]
    tensors = {k: v for k, v in value.items() if torch.is_tensor(v)} if isinstance(value, Mapping) else {}
    if not tensors:
        raise CheckpointError(f"{path} holds no state dict: no names with tensors in it")
    return tensors


def import_weights(path: Path, name: str | None = None) -> Path:
    """Bring a file of weights into `weights_folder` as safetensors; returns where it lies."""
    tensors = {k: v.clone().contiguous() for k, v in read_state_dict(path).items()}
    target = weights_folder() / f"{name or path.name.split('.')[0]}.safetensors"
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.tmp")
    save_file(tensors, aside)
    os.replace(aside, target)
    return target


def export_weights(checkpoint: Checkpoint, out: Path, averaged: bool) -> int:
    """Write parameters and buffers as one safetensors file, whose metadata says ``step``, ``tasks``, ``classes`` and
    ``weights`` (``raw`` or ``ema``), as JSON. Returns the number of tensors.

    Raises CheckpointError where ``out`` is there or is named otherwise, and for averages where there are none.
    """
    if averaged and not checkpoint.names("ema"):
        raise CheckpointError(f"{checkpoint.path} holds no averaged weights (EMA)", remedy="export the raw ones: --raw")
    if out.suffix != ".safetensors":
        near = [str(out.with_suffix(".safetensors"))]
        raise CheckpointError(f"{out}: what is written is safetensors", near=near, remedy="end the name in .safetensors")
    if out.exists():
        raise CheckpointError(f"{out} is there already", remedy="name another file, or delete that one first")
    said: dict[str, Any] = {"step": checkpoint.step, "weights": "ema" if averaged else "raw"}
    said |= {key: checkpoint.state.get(key) for key in ("tasks", "classes")}
    tensors = checkpoint.weights("ema" if averaged else "weight")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_aside(out, lambda aside: save_file(tensors, aside, {key: json.dumps(value) for key, value in said.items()}))
    return len(tensors)


@dataclass
class Loaded:
    """What `initialise` did: names ``loaded``, ``skipped`` (left out, or not in the model), ``mismatched`` (other shapes),
    and ``missing`` (in the model, not in the file)."""

    loaded: list[str]
    skipped: list[str]
    mismatched: list[str]
    missing: list[str]

    def __str__(self) -> str:
        counts = (f"{len(getattr(self, k))} {k}" for k in ("loaded", "skipped", "mismatched", "missing"))
        examples = [f"\n  {k}: {', '.join(getattr(self, k)[:5])}" for k in ("mismatched", "missing") if getattr(self, k)]
        return ", ".join(counts) + "".join(examples)


def initialise(module: nn.Module, tensors: Mapping[str, Tensor], include: Sequence[str] = (), exclude: Sequence[str] = (),
               rename: Mapping[str, str] | None = None) -> Loaded:  # fmt: skip
    """Copy what fits into ``module``. ``include`` and ``exclude`` are regular expressions on the file's names; ``rename``
    maps a prefix there to a prefix here. Raises CheckpointError where nothing fits."""
    own = module.state_dict(keep_vars=True)
    done = Loaded([], [], [], [])
    for name, tensor in tensors.items():
        if (include and not any(re.search(p, name) for p in include)) or any(re.search(p, name) for p in exclude):
            done.skipped.append(name)
            continue
        target = _renamed(name, own, rename or {})
        if target is None:
            done.skipped.append(name)
        elif own[target].shape != tensor.shape:
            done.mismatched.append(f"{target} {list(tensor.shape)} for {list(own[target].shape)}")
        else:
            with torch.no_grad():
                own[target].copy_(tensor)
            done.loaded.append(target)
    done.missing = sorted(set(own) - set(done.loaded))
    if not done.loaded:
        raise CheckpointError(f"init_from: nothing fits: {done}", near=near_matches(next(iter(tensors)), own))
    return done


def _renamed(name: str, own: Mapping[str, Any], rename: Mapping[str, str]) -> str | None:
    """The model's name of a file's tensor: after the renames, as it is or below the model's wrapped network."""
    for there, here in rename.items():
        if name.startswith(there):
            name = here + name[len(there) :]
    return next((n for n in (name, f"net.{name}", name.removeprefix("module.")) if n in own), None)


def restore(module: nn.Module, checkpoint: Checkpoint, kind: str = "weight") -> None:
    """Every parameter and buffer, strictly; of ``kind`` ``ema`` their running means. Raises CheckpointError listing what
    differs."""
    own = dict(module.named_parameters()) | persistent_buffers(module)
    saved = checkpoint.names("weight") | checkpoint.names("buffer")
    other = [n for n in own if n in saved and saved[n] != tuple(own[n].shape)]
    differ = [f"{n}: {list(saved[n])} saved, {list(own[n].shape)} here" for n in other]
    differ += [f"{n}: not in the checkpoint" for n in own if n not in saved]
    differ += [f"{n}: not in the model" for n in saved if n not in own]
    if differ:
        raise CheckpointError(f"{checkpoint.path} is of another model:\n  " + "\n  ".join(differ[:12]))
    with torch.no_grad():
        for name, tensor in checkpoint.weights(kind).items():
            own[name].copy_(tensor)
