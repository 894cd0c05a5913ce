"""Saving: a step waits for a copy to host memory alone; files are written, hashed and made to count behind it.

Every rank writes the fragments that it owns into a folder that is no checkpoint yet, ``.step-00000040.TOKEN.tmp`` (the
token is this start's, so that nothing that a killed save left is taken for a part of this one), and then
``rank-00000.done`` with their hashes. Rank 0 waits for those of all ranks, writes ``manifest.json`` last, and renames the
folder to ``step-00000040``. Threads of ranks meet in these files alone: no collective leaves the main thread.
"""

from __future__ import annotations

import json
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from torch import Tensor

from .checkpoint import FORMAT, Piece, all_checkpoints, checkpoint_path, persistent_buffers
from .comm import Comm
from .errors import CheckpointError, DiskFullError, OutageError, full_disk
from .files import sync_folder, write_hashed, write_json
from .recipe_schema import CheckpointSection

_DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
_GRACE_S = 10  # after an error: another rank may be gone, and its files never come


class HostMemory:
    """Memory that one save after another uses; pinned for copies from a GPU."""

    def __init__(self, pinned: bool = False):
        self._pinned = pinned
        self._bytes = torch.empty(0, dtype=torch.uint8)

    def take(self, size: int) -> Tensor:
        """uint8 [size], over what was taken before."""
        if self._bytes.numel() < size:
            self._bytes = torch.empty(0, dtype=torch.uint8)  # never both at once
            self._bytes = torch.empty(size, dtype=torch.uint8, pin_memory=self._pinned)
        return self._bytes[:size]


class FragmentWriter:
    """One rank's files of a checkpoint: `add` says what belongs in them, `copy` takes the values over, `write` writes them.

    From `copy` on the tensors that were added may change, and from then to the end of `write` the ``memory`` may not.
    """

    def __init__(self, folder: Path, rank: int, memory: HostMemory | None = None):
        self.folder, self.rank = folder, rank
        self._memory = memory or HostMemory()
        self._tensors: dict[str, Tensor] = {}
        self._table: dict[str, dict[str, Any]] = {}
        self._scalars: dict[str, dict[str, float]] = {}
        self._header: dict[str, dict[str, Any]] = {}
        self._data = self._memory.take(0)

    def add(self, kind: str, name: str, shape: Iterable[int], start: int, values: Tensor) -> None:
        """``values`` [n]: the stretch from ``start`` of ``kind`` (``weight``, ``buffer``, ``optimizer.exp_avg``...)."""
        key = f"{kind}|{name}"
        self._tensors[key] = values.detach()
        self._table[key] = {"shape": list(shape), "start": start, "numel": values.numel()}

    def add_pieces(self, pieces: Iterable[Piece], optimizer: torch.optim.Optimizer) -> None:
        """The weights of ``pieces`` and the optimizer's state of them. Raises CheckpointError for state that is neither laid
        out like the weights nor a scalar."""
        for piece in pieces:
            self.add("weight", piece.name, piece.shape, piece.start, piece.part_of(piece.flat).float())
            for key, value in optimizer.state.get(piece.flat, {}).items():
                if torch.is_tensor(value) and key != "step" and value.shape == piece.flat.shape:
                    self.add(f"optimizer.{key}", piece.name, piece.shape, piece.start, piece.part_of(value))
                elif torch.is_tensor(value) and value.numel() != 1:
                    raise CheckpointError(f"optimizer state {key!r} of {piece.name!r} has shape {list(value.shape)}, its "
                                          f"parameter {list(piece.flat.shape)}: it cannot be cut over ranks")  # fmt: skip
                elif value is not None:
                    self._scalars.setdefault(piece.name, {})[key] = float(value)

    def add_buffers(self, module: torch.nn.Module) -> None:
        for name, buffer in persistent_buffers(module).items():
            self.add("buffer", name, buffer.shape, 0, buffer.reshape(-1))

    def copy(self) -> None:
        """All values, into one stretch of host memory laid out as the file's; returns once they are there."""
        widest_first = sorted(self._tensors, key=lambda key: -self._tensors[key].element_size())  # so that each is aligned
        self._data = self._memory.take(sum(t.nbytes for t in self._tensors.values()))
        at = 0
        for key in widest_first:
            values = self._tensors.pop(key)
            end = at + values.nbytes
            self._data[at:end].view(values.dtype).copy_(values, non_blocking=True)
            self._header[key] = {"dtype": _DTYPES[values.dtype], "shape": list(values.shape), "data_offsets": [at, end]}
            at = end
        if torch.cuda.is_available():
            torch.cuda.current_stream().synchronize()

    def write(self) -> None:
        """The files, hashed as they are written, and then ``rank-NNNNN.done``, which says that they are whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        stem = f"rank-{self.rank:05d}"
        head = json.dumps(self._header).encode()
        head += b" " * (-len(head) % 8)
        table = json.dumps({"fragments": self._table, "scalars": self._scalars}).encode()
        data = [len(head).to_bytes(8, "little"), head, self._data.numpy()]  # safetensors: length, header, data
        files = {f"{stem}.safetensors": write_hashed(self.folder / f"{stem}.safetensors", data)}
        files[f"{stem}.json"] = write_hashed(self.folder / f"{stem}.json", [table])
        write_json(self.folder / f"{stem}.done", {"files": files})

    def close(self) -> None:
        """`copy` and `write`."""
        self.copy()
        self.write()


def commit(folder: Path, world: int, state: Mapping[str, Any], deadline_s: float = 600) -> None:
    """On rank 0: wait until every rank is done, then write ``state.json`` and, last, the manifest.

    Raises OutageError, naming the ranks, where one is not done in time.
    """
    _wait_for_ranks(folder, world, deadline_s)
    files = {"state.json": write_hashed(folder / "state.json", [json.dumps(state, allow_nan=False).encode()])}
    for rank in range(world):
        files |= json.loads((folder / f"rank-{rank:05d}.done").read_text())["files"]
    write_json(folder / "manifest.json", {"format": FORMAT, "world": world, "step": state["step"], "files": files})


def _wait_for_ranks(folder: Path, world: int, deadline_s: float) -> None:
    end = time.monotonic() + deadline_s
    missing = list(range(world))
    while missing := [r for r in missing if not (folder / f"rank-{r:05d}.done").exists()]:
        if time.monotonic() > end:
            raise OutageError(f"{folder}: ranks {missing} have not written their files within {deadline_s:.0f} s",
                              remedy="the checkpoint does not count; the one before it stays the newest")  # fmt: skip
        time.sleep(0.02)


def publish(folder: Path, path: Path) -> None:
    """Give a whole checkpoint its name, in place of one of that name that did not count."""
    if path.exists():
        discard(path)
    folder.rename(path)
    sync_folder(path.parent)


def retire(folder: Path, keep: int, best: int | None) -> None:
    """Delete whole checkpoints but the newest ``keep`` and that of step ``best``. Others are no one's to delete here."""
    whole = [path for path in all_checkpoints(folder) if (path / "manifest.json").is_file()]
    for path in whole[max(1, keep) :]:
        if best is None or path != checkpoint_path(folder, best):
            discard(path)


def discard(path: Path) -> None:
    """Delete a checkpoint: renamed first, so that a half-deleted one is none."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    path.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """What killed saves and deletions left; none may be under way."""
    for path in folder.glob(".step-*.tmp"):
        shutil.rmtree(path, ignore_errors=True)


class Saver:
    """The saves of one rank, one at a time. All ranks make one together and begin the same saves.

    ``announce(path, step)`` is called on rank 0's main thread once a checkpoint is whole. Errors of writing are raised by
    the next call of anything here: DiskFullError or OutageError that names the cause and the newest whole checkpoint.
    """

    def __init__(self, folder: Path, comm: Comm, settings: CheckpointSection, announce: Callable[[Path, int], None],
                 say: Callable[[str], None]):  # fmt: skip
        self._folder, self._rank, self._world, self._settings = folder, comm.rank, comm.world, settings
        self._announce, self._say = announce, say
        self._memory = HostMemory(pinned=comm.device.type == "cuda")
        self._running: tuple[int, Future] | None = None
        self._said_that_it_waits = False
        if comm.is_main:
            remove_leftovers(folder)
        self._token = comm.broadcast(secrets.token_hex(4))

    def begin(self, step: int, fill: Callable[[FragmentWriter], None], state: Mapping[str, Any]) -> None:
        """Take over what ``fill`` adds, and write it behind the training: a save that is still being written is waited for
        first. ``state`` is rank 0's: what ``state.json`` holds."""
        if self._running is not None and not self._running[1].done() and not self._said_that_it_waits:
            self._said_that_it_waits = True
            self._say(f"step {step}: the checkpoint of step {self._running[0]} is still being written, and is waited for; "
                      "checkpoint.every is short for this disk")  # fmt: skip
        self.wait()
        writer = FragmentWriter(self._folder / f".step-{step:08d}.{self._token}.tmp", self._rank, self._memory)
        fill(writer)
        writer.copy()
        self._running = step, _in_background(lambda: self._write(step, writer, state))
        if not self._settings.asynchronous:
            self.wait()

    def poll(self) -> None:
        """At a step's boundary: announce the save that has ended since, if one has."""
        if self._running is not None and self._running[1].done():
            self.wait()

    def wait(self, timeout_s: float | None = None) -> None:
        """Until nothing is being written any more; raises TimeoutError after ``timeout_s``."""
        if self._running is None:
            return
        step, future = self._running
        error = future.exception(timeout_s)
        self._running = None
        if error is not None:
            raise self._told(error, step)
        if self._rank == 0:
            self._announce(checkpoint_path(self._folder, step), step)

    def finish(self, error: BaseException | None) -> None:
        """At the end of a run, whatever it is: after an ``error`` the wait is short, and a second one is said, not raised."""
        if error is None:
            return self.wait()
        try:
            self.wait(_GRACE_S)
        except Exception as second:
            self._say(f"warning: the last checkpoint does not count: {second or 'other ranks did not write their part'}")

    def _write(self, step: int, writer: FragmentWriter, state: Mapping[str, Any]) -> None:
        writer.write()
        if self._rank == 0:
            commit(writer.folder, self._world, state)
            publish(writer.folder, checkpoint_path(self._folder, step))
            best = state.get("best")
            retire(self._folder, self._settings.keep, best["step"] if best else None)

    def _told(self, error: BaseException, step: int) -> BaseException:
        if not isinstance(error, OSError):
            return error
        whole = next(iter(all_checkpoints(self._folder)), None)
        newest = f"the newest whole one is {whole}: the same command goes on from there" if whole else "there is none yet"
        text = f"the checkpoint of step {step} could not be written: {error}"
        if full_disk(error):
            return DiskFullError(text, remedy=f"{newest}\nfirst make room")
        return OutageError(text, remedy=f"{newest}\nfirst see to what the disk refuses")


def _in_background(work: Callable[[], None]) -> Future:
    """``work`` on a thread of its own, which does not keep a process that ends."""
    future: Future = Future()

    def run() -> None:
        try:
            work()
            future.set_result(None)
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, name="checkpoint", daemon=True).start()
    return future
