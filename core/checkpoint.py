"""Checkpoints: by parameter name, float32, safetensors; whole or not there.

A checkpoint is a folder. Every rank writes the fragments that it owns (``rank-00000.safetensors``, with a table of which
stretch of which flattened parameter each one is, ``rank-00000.json``) and then ``rank-00000.done``; rank 0 waits for all
of them and writes ``manifest.json``, the hashes of every file, last. No manifest: no checkpoint. Since a fragment says what
it is a part of, a checkpoint knows nothing of the engine, the ZeRO stage or the number of ranks that wrote it.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .errors import CheckpointError
from .files import write_aside, write_json

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


class FragmentWriter:
    """Writes one rank's files of a checkpoint; `close` makes them count."""

    def __init__(self, folder: Path, rank: int):
        self.folder, self.rank = folder, rank
        self._tensors: dict[str, Tensor] = {}
        self._table: dict[str, dict[str, Any]] = {}
        self._scalars: dict[str, dict[str, float]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, kind: str, name: str, shape: Iterable[int], start: int, values: Tensor) -> None:
        """``values`` [n]: the stretch from ``start`` of ``kind`` (``weight``, ``buffer``, ``optimizer.exp_avg``...)."""
        key = f"{kind}|{name}"
        self._tensors[key] = values.detach().to("cpu", copy=True).contiguous()
        self._table[key] = {"shape": list(shape), "start": start, "numel": values.numel()}

    def add_pieces(self, pieces: Iterable[Piece], optimizer: torch.optim.Optimizer) -> None:
        """The weights of ``pieces`` and the optimizer's state of them."""
        for piece in pieces:
            self.add("weight", piece.name, piece.shape, piece.start, piece.part_of(piece.flat).float())
            for key, value in optimizer.state.get(piece.flat, {}).items():
                if torch.is_tensor(value) and key != "step" and value.shape == piece.flat.shape:
                    self.add(f"optimizer.{key}", piece.name, piece.shape, piece.start, piece.part_of(value))
                elif value is not None:
                    self._scalars.setdefault(piece.name, {})[key] = float(value)

    def add_buffers(self, module: torch.nn.Module) -> None:
        for name, buffer in persistent_buffers(module).items():
            self.add("buffer", name, buffer.shape, 0, buffer.reshape(-1))

    def close(self) -> None:
        stem = f"rank-{self.rank:05d}"
        write_aside(self.folder / f"{stem}.safetensors", lambda path: save_file(self._tensors, path))
        table = {"fragments": self._table, "scalars": self._scalars}
        write_json(self.folder / f"{stem}.json", table)
        write_json(self.folder / f"{stem}.done", {"files": [f"{stem}.safetensors", f"{stem}.json"]})


def persistent_buffers(module: torch.nn.Module) -> dict[str, Tensor]:
    """The buffers that a state dict holds."""
    names = set(module.state_dict(keep_vars=True)) - {n for n, _ in module.named_parameters(remove_duplicate=False)}
    return {n: b for n, b in module.named_buffers() if n in names}


def commit(folder: Path, world: int, state: Mapping[str, Any], deadline_s: float = 600) -> None:
    """On rank 0: wait until every rank is done, then write ``state.json`` and, last, the manifest.

    Raises CheckpointError, naming the ranks, where one is not done in time.
    """
    _wait_for_ranks(folder, world, deadline_s)
    write_json(folder / "state.json", state)
    files = ["state.json"]
    for rank in range(world):
        files += json.loads((folder / f"rank-{rank:05d}.done").read_text())["files"]
    entries = {name: {"bytes": (folder / name).stat().st_size, "xxh3": hash_file(folder / name)} for name in files}
    write_json(folder / "manifest.json", {"format": FORMAT, "world": world, "step": state["step"], "files": entries})


def _wait_for_ranks(folder: Path, world: int, deadline_s: float) -> None:
    end = time.monotonic() + deadline_s
    missing = list(range(world))
    while missing := [r for r in missing if not (folder / f"rank-{r:05d}.done").exists()]:
        if time.monotonic() > end:
            raise CheckpointError(f"{folder}: ranks {missing} have not written their files within {deadline_s:.0f} s",
                                  remedy="the checkpoint does not count; the one before it stays the newest")  # fmt: skip
        time.sleep(0.02)


class Checkpoint:
    """A whole checkpoint, open for reading. Raises CheckpointError where it is not whole, naming the file."""

    def __init__(self, path: Path):
        self.path = Path(path)
        manifest = self.path / "manifest.json"
        if not manifest.is_file():
            raise CheckpointError(f"{self.path}: no manifest.json, so this is no whole checkpoint")
        try:
            self.manifest = json.loads(manifest.read_text())
            if self.manifest["format"] != FORMAT:
                raise CheckpointError(f"{self.path}: format {self.manifest['format']}, this version reads {FORMAT}")
            self._check_files()
            self.state: dict[str, Any] = json.loads((self.path / "state.json").read_text())
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise CheckpointError(f"{self.path}: its manifest cannot be read: {error!r}") from error

    @property
    def step(self) -> int:
        return self.manifest["step"]

    def _check_files(self) -> None:
        for name, entry in self.manifest["files"].items():
            path = self.path / name
            if not path.is_file():
                raise CheckpointError(f"{path} is missing")
            if path.stat().st_size != entry["bytes"] or hash_file(path) != entry["xxh3"]:
                raise CheckpointError(f"{path} is damaged: it is not what was written")

    @cached_property
    def _tables(self) -> list[tuple[Path, dict[str, Any]]]:
        return [
            ((self.path / f"rank-{r:05d}.safetensors"), json.loads((self.path / f"rank-{r:05d}.json").read_text()))
            for r in range(self.manifest["world"])
        ]

    @cached_property
    def _where(self) -> dict[str, list[tuple[Path, dict[str, Any]]]]:
        where: dict[str, list[tuple[Path, dict[str, Any]]]] = {}
        for path, table in self._tables:
            for key, entry in table["fragments"].items():
                where.setdefault(key, []).append((path, entry))
        return where

    def names(self, kind: str = "weight") -> dict[str, tuple[int, ...]]:
        """Name -> shape of everything of one kind."""
        head = f"{kind}|"
        return {k[len(head) :]: tuple(v[0][1]["shape"]) for k, v in self._where.items() if k.startswith(head)}

    def kinds(self, name: str) -> list[str]:
        """The kinds of optimizer state that are kept for a parameter, such as ``exp_avg``."""
        tail = f"|{name}"
        return [k[len("optimizer.") : -len(tail)] for k in self._where if k.startswith("optimizer.") and k.endswith(tail)]

    def scalars(self, name: str) -> dict[str, float]:
        """Scalar optimizer state of a parameter, such as ``step``."""
        for _, table in self._tables:
            if name in table["scalars"]:
                return table["scalars"][name]
        return {}

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
            with safe_open(path, "pt") as file:
                return file.get_slice(key)[start:stop]
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


def newest_checkpoint(folder: Path, tell: Callable[[str], None]) -> Checkpoint | None:
    """The newest whole checkpoint; those that are damaged are named through ``tell`` and passed over."""
    for path in all_checkpoints(folder):
        try:
            return Checkpoint(path)
        except CheckpointError as error:
            tell(f"passed over: {error}")
    return None


def checkpoint_path(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}"


def retire(folder: Path, keep: int, best: int | None) -> None:
    """Delete whole checkpoints but the newest ``keep`` and that of step ``best``. Others are no one's to delete here."""
    whole = [path for path in all_checkpoints(folder) if (path / "manifest.json").is_file()]
    for path in whole[max(1, keep) :]:
        if best is None or path != checkpoint_path(folder, best):
            (path / "manifest.json").unlink()  # first, so that a half-deleted one is none
            shutil.rmtree(path, ignore_errors=True)


def hash_file(path: Path) -> str:
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()
