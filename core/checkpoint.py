"""Checkpoints: by parameter name, float32, safetensors; whole or not there.

A checkpoint is a folder: of every rank that wrote it the fragments that it owned (``rank-00000.safetensors``) and a table of
which stretch of which flattened parameter each one is (``rank-00000.json``), ``state.json``, and ``manifest.json`` with the
hashes of them all. No manifest: no checkpoint. Since a fragment says what it is a part of, a checkpoint knows nothing of
the engine, the ZeRO stage or the number of ranks that wrote it. `drivetrain.saving` writes them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .errors import CheckpointError, near_matches
from .files import hash_file

FORMAT = 1
_STEP = re.compile(r"step-(\d{8,})")


@dataclass
class Piece:
    """A stretch of a parameter that this rank owns.

    ``name`` and ``shape`` of the whole parameter; the stretch [``start``, ``start`` + ``numel``) of it, flattened, lies in
    ``flat`` at ``offset``. ``flat`` is the tensor that the optimizer steps, so it is also the key of its state.
    """

    name: str
    shape: tuple[int, ...]
    start: int
    numel: int
    flat: Tensor
    offset: int = 0

    def part_of(self, tensor: Tensor) -> Tensor:
        """This piece's stretch of ``tensor``, which is laid out like ``flat``: [numel]."""
        return tensor.detach().view(-1).narrow(0, self.offset, self.numel)


def whole_pieces(module: torch.nn.Module, rank: int = 0, world: int = 1) -> list[Piece]:
    """The parameters of a module that every rank holds whole, shared out over the ranks."""
    pieces = [Piece(n, tuple(p.shape), 0, p.numel(), p) for n, p in module.named_parameters()]
    return pieces[rank::world]


def persistent_buffers(module: torch.nn.Module) -> dict[str, Tensor]:
    """The buffers that a state dict holds."""
    names = set(module.state_dict(keep_vars=True)) - {n for n, _ in module.named_parameters(remove_duplicate=False)}
    return {n: b for n, b in module.named_buffers() if n in names}


def read_manifest(path: Path) -> dict[str, Any]:
    """What a checkpoint's folder says that it holds. Raises CheckpointError where that is no whole checkpoint."""
    manifest = path / "manifest.json"
    if not manifest.is_file():
        raise CheckpointError(f"{path}: no manifest.json, so this is no whole checkpoint")
    try:
        found = json.loads(manifest.read_text())
        if found["format"] != FORMAT:
            raise CheckpointError(f"{path}: format {found['format']}, this version reads {FORMAT}")
        files = {name: {"bytes": entry["bytes"], "xxh3": entry["xxh3"]} for name, entry in found["files"].items()}
        return {"format": FORMAT, "world": found["world"], "step": found["step"], "files": files}
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise CheckpointError(f"{path}: its manifest cannot be read: {error!r}") from error


def find_damage(path: Path, manifest: Mapping[str, Any], content: bool = True) -> list[str]:
    """The files that are not what was written, a line each; without ``content`` as far as their sizes tell."""

    def look_at(name: str) -> str | None:
        file, entry = path / name, manifest["files"][name]
        try:
            right = file.stat().st_size == entry["bytes"] and not (content and hash_file(file) != entry["xxh3"])
        except FileNotFoundError:
            return f"{file} is missing"
        return None if right else f"{file} is damaged: it is not what was written"

    with ThreadPoolExecutor(8) as pool:
        return [line for line in pool.map(look_at, manifest["files"]) if line]


class Checkpoint:
    """A whole checkpoint, open for reading. Raises CheckpointError where it is not whole, naming the file; ``content`` False
    leaves it at the sizes of files, where someone has looked at their content a moment ago."""

    def __init__(self, path: Path, content: bool = True):
        self.path = Path(path)
        self.manifest = read_manifest(self.path)
        self._files: dict[Path, Any] = {}
        if damage := find_damage(self.path, self.manifest, content):
            raise CheckpointError(damage[0])
        try:
            self.state: dict[str, Any] = json.loads((self.path / "state.json").read_text())
        except (ValueError, OSError) as error:
            raise CheckpointError(f"{self.path}: its state cannot be read: {error!r}") from error

    @property
    def step(self) -> int:
        return self.manifest["step"]

    def close(self) -> None:
        """Let go of its files: open ones take up room on the disk even when they are deleted. Reading opens them again."""
        self._files.clear()

    @cached_property
    def _tables(self) -> list[tuple[Path, dict[str, Any]]]:
        files = [self.path / f"rank-{r:05d}.safetensors" for r in range(self.manifest["world"])]
        try:
            return [(file, json.loads(file.with_suffix(".json").read_text())) for file in files]
        except (ValueError, OSError) as error:  # the run that it is of may have retired it meanwhile
            raise CheckpointError(f"{self.path}: its tables cannot be read: {error!r}") from error

    @cached_property
    def _where(self) -> dict[str, list[tuple[Path, dict[str, Any]]]]:
        where: dict[str, list[tuple[Path, dict[str, Any]]]] = {}
        for path, table in self._tables:
            for key, entry in table["fragments"].items():
                where.setdefault(key, []).append((path, entry))
        return where

    @cached_property
    def _kinds(self) -> dict[str, list[str]]:
        kinds: dict[str, list[str]] = {}
        for key in self._where:
            kind, _, name = key.partition("|")
            if kind.startswith("optimizer."):
                kinds.setdefault(name, []).append(kind.removeprefix("optimizer."))
        return kinds

    @cached_property
    def _scalars(self) -> dict[str, dict[str, float]]:
        return {name: values for _, table in self._tables for name, values in table["scalars"].items()}

    def names(self, kind: str = "weight") -> dict[str, tuple[int, ...]]:
        """Name -> shape of everything of one kind."""
        head = f"{kind}|"
        return {k[len(head) :]: tuple(v[0][1]["shape"]) for k, v in self._where.items() if k.startswith(head)}

    def all_kinds(self) -> list[str]:
        """``weight``, ``buffer``, ``optimizer.exp_avg``... as far as there are any."""
        return list(dict.fromkeys(key.partition("|")[0] for key in self._where))

    def kinds(self, name: str) -> list[str]:
        """The kinds of optimizer state that are kept for a parameter, such as ``exp_avg``."""
        return self._kinds.get(name, [])

    def scalars(self, name: str) -> dict[str, float]:
        """Scalar optimizer state of a parameter, such as ``step``."""
        return self._scalars.get(name, {})

    def fragment(self, kind: str, name: str, start: int, numel: int) -> Tensor:
        """The stretch [start, start + numel) of a flattened tensor, joined from whoever wrote parts of it."""
        out: Tensor | None = None
        filled = 0
        for path, entry in self._where.get(f"{kind}|{name}", ()):
            lo, hi = max(start, entry["start"]), min(start + numel, entry["start"] + entry["numel"])
            if lo < hi or (numel == 0 and out is None):
                part = self._read(path, f"{kind}|{name}", lo - entry["start"], hi - entry["start"])
                out = torch.empty(numel, dtype=part.dtype) if out is None else out
                out[lo - start : hi - start] = part
                filled += hi - lo
        if out is None or filled != numel:
            raise CheckpointError(f"{self.path}: {kind} of {name!r} is not complete: {filled} of {numel} values")
        return out

    def tensor(self, kind: str, name: str) -> Tensor:
        """A whole tensor in its shape."""
        shape = self._where[f"{kind}|{name}"][0][1]["shape"]
        return self.fragment(kind, name, 0, torch.Size(shape).numel()).view(shape)

    def weights(self, kind: str = "weight") -> dict[str, Tensor]:
        """Parameters and buffers by name: a plain state dict. Of ``kind`` ``ema``: with averages for those that have one."""
        found = {n: self.tensor(k, n) for k in ("weight", "buffer") for n in self.names(k)}
        return found if kind == "weight" else found | {n: self.tensor(kind, n) for n in self.names(kind)}

    def _read(self, path: Path, key: str, start: int, stop: int) -> Tensor:
        try:
            if path not in self._files:
                self._files[path] = safe_open(path, "pt")
            return self._files[path].get_slice(key)[start:stop]
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from error

    def load_pieces(self, pieces: Iterable[Piece], optimizer: torch.optim.Optimizer) -> None:
        """Restore the weights of ``pieces`` and their optimizer state; what is saved for no piece is left alone."""
        with torch.no_grad():
            for piece in pieces:
                piece.part_of(piece.flat).copy_(self.fragment("weight", piece.name, piece.start, piece.numel))
                state = optimizer.state[piece.flat]
                for kind in self.kinds(piece.name):
                    if not torch.is_tensor(state.get(kind)):
                        state[kind] = torch.zeros_like(piece.flat)
                    values = self.fragment(f"optimizer.{kind}", piece.name, piece.start, piece.numel)
                    piece.part_of(state[kind]).copy_(values)
                for key, value in self.scalars(piece.name).items():
                    state[key] = torch.tensor(value, dtype=torch.float32)


def all_checkpoints(folder: Path) -> list[Path]:
    """The folders under ``folder`` that are named as checkpoints are, newest first, whole or not."""
    found = [(int(m[1]), p) for p in folder.glob("step-*") if (m := _STEP.fullmatch(p.name))]
    return [path for _, path in sorted(found, reverse=True)]


def newest_checkpoint(folder: Path, tell: Callable[[str], None], content: bool = True) -> Checkpoint | None:
    """The newest whole checkpoint; those that are damaged are named through ``tell`` and passed over."""
    passed_over = set[Path]()
    while paths := [path for path in all_checkpoints(folder) if path not in passed_over]:  # a run may save meanwhile
        try:
            return Checkpoint(paths[0], content)
        except CheckpointError as error:
            passed_over.add(paths[0])
            if paths[0].exists():  # else that run has retired it
                tell(f"passed over: {error}")
    return None


def find_checkpoint(folder: Path, which: str, say: Callable[[str], None], content: bool = True) -> Checkpoint:
    """The checkpoint in ``folder`` that ``newest``, ``best`` or a step's number names. Raises CheckpointError."""
    if which.isdigit():
        path = checkpoint_path(folder, int(which))
        steps = [str(int(p.name.removeprefix("step-"))) for p in all_checkpoints(folder)]
        if str(int(which)) not in steps:
            raise CheckpointError(f"{folder} has no checkpoint of step {which}", near=near_matches(which, steps),
                                  remedy=f"steps that are kept: {', '.join(steps) or 'none'}")  # fmt: skip
        return Checkpoint(path, content)
    if which not in ("newest", "best"):
        raise CheckpointError(f"--checkpoint {which}: expected newest, best, or the number of a step")
    newest = newest_checkpoint(folder, say, content)
    if newest is None:
        raise CheckpointError(f"{folder.parent} has no whole checkpoint yet")
    if which == "newest":
        return newest
    if not newest.state.get("best"):
        raise CheckpointError(f"{folder.parent} keeps no best checkpoint", remedy="set checkpoint.best to a metric's name")
    return find_checkpoint(folder, str(newest.state["best"]["step"]), say, content)


def checkpoint_path(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}"
