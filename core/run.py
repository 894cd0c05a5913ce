"""A run's folder: what was asked, what was done, and where it stands.

::

    run.json              layout version, id, name, when it began
    recipe.yaml           as written            recipe.resolved.json   as resolved, with every default
    provenance.jsonl      one line a start: git, versions, plugins, data, hosts, command
    metrics.jsonl         one record a logged step and an evaluation, the run's own, every tracker aside
    samples/              the keys that each rank read, where train.record_samples is on
    skipped.jsonl         the samples of steps that were not taken, since their gradient was not finite
    checkpoints/ predictions/ pictures/ quarantine.jsonl
    stop                  whoever writes it makes the run save and leave: [EXIT CODE] [WHY]
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import platform
import secrets
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

from .errors import UserError
from .files import write_json, write_text

LAYOUT = 1
_PACKAGES = ("drivetrain", "torch", "torchvision", "timm", "transformers", "deepspeed", "numpy", "simplejpeg",
             "opencv-python-headless", "wandb")  # fmt: skip


_held: list[IO[str]] = []
"""Locks of the runs that this process has begun; a lock goes with its file."""


class RunFolder:
    """A run's folder on disk. Opening it reads; `begin` makes or continues it, on rank 0 alone."""

    def __init__(self, path: Path):
        self.path = Path(path)

    @property
    def exists(self) -> bool:
        return (self.path / "run.json").is_file()

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def stop_file(self) -> Path:
        """Where it appears, ``[EXIT CODE] [WHY]``, the run saves and leaves."""
        return self.path / "stop"

    @property
    def exit_file(self) -> Path:
        """Where ranks leave their exit code for `drivetrain launch` (`watch.note_exit`), since launchers make others of it."""
        return self.path.resolve() / ".exit"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def predictions(self) -> Path:
        return self.path / "predictions"

    def info(self) -> dict[str, Any]:
        """``run.json``. Raises UserError where this is no run, or one of a later layout."""
        if not self.exists:
            raise UserError(f"{self.path} is no run: there is no run.json in it",
                            remedy="a run is what `drivetrain train RECIPE --run DIR` leaves")  # fmt: skip
        info = json.loads((self.path / "run.json").read_text())
        if info["layout"] != LAYOUT:
            raise UserError(f"{self.path}: run layout {info['layout']}, this version reads {LAYOUT}")
        return info

    @property
    def is_frozen(self) -> bool:
        """Whether a recipe was put down: a start that was refused leaves none."""
        return (self.path / "recipe.resolved.json").is_file()

    def resolved_recipe(self) -> dict[str, Any]:
        self.info()
        if not self.is_frozen:
            raise UserError(f"{self.path} never began to train", remedy="start it: drivetrain train RECIPE --run DIR")
        return json.loads((self.path / "recipe.resolved.json").read_text())

    def begin(self) -> dict[str, Any]:
        """Make the folder, or continue it; it is this process's as long as that lives. Raises UserError where another
        process is running it, where it is something else, and where it cannot be written."""
        try:
            if not self.exists and self.path.exists() and any(not p.name.startswith(".") for p in self.path.iterdir()):
                raise UserError(f"{self.path} holds files but is no run", remedy="name a new or an empty folder with --run")
            self.path.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            self.make()
        except OSError as error:
            raise UserError(f"{self.path} cannot be a run's folder: {error.strerror}", remedy="name another --run") from error
        return self.info()

    def make(self, name: str | None = None, **more: str) -> None:
        """The folder of a run that has not begun, if it is not there; ``more`` goes into ``run.json``: ``group`` and
        ``job_type`` are what trackers file it under."""
        if not self.exists:
            self.path.mkdir(parents=True, exist_ok=True)
            info = {"layout": LAYOUT, "id": secrets.token_hex(4), "name": name or self.path.name, "began": _now(), **more}
            write_json(self.path / "run.json", info)

    def freeze(self, written: str, resolved: Mapping[str, Any]) -> None:
        """Put down the recipe that the run follows from here on, once everything that it asks for is known to be there."""
        write_text(self.path / "recipe.yaml", written)
        write_json(self.path / "recipe.resolved.json", resolved)

    def _take_lock(self) -> None:
        lock = (self.path / ".lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            remedy = "wait for it, or name another --run"
            raise UserError(f"{self.path}: another process is running this run", remedy=remedy) from None
        except OSError:
            pass  # a file system without locks: nothing to hold
        _held.append(lock)

    def supersede(self, step: int) -> int:
        """Mark the records after ``step`` as superseded, in metrics and samples; returns how many."""
        files = [self.metrics, *sorted((self.path / "samples").glob("*.jsonl"))]
        return sum(_supersede(path, step) for path in files if path.is_file())

    def records(self, superseded: bool = False) -> list[dict[str, Any]]:
        """The records of ``metrics.jsonl``, without those that a resumed run has done again."""
        return [r for r in read_records(self.metrics) if superseded or not r.get("superseded")]


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """One line of JSON at the end of a file, in one write; numbers that are not finite, which JSON lacks, become null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(_without_nan(record)) + "\n")


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a file of JSON lines; a torn last line (a writer was killed) is passed over."""
    if not path.is_file():
        return
    with path.open() as file:
        for line in file:
            if not line.endswith("\n"):
                return
            yield json.loads(line)


def _supersede(path: Path, step: int) -> int:
    records = list(read_records(path))
    marked = [r for r in records if r["step"] > step and not r.get("superseded")]
    for record in marked:
        record["superseded"] = True
    write_text(path, "".join(json.dumps(r) + "\n" for r in records))  # also where nothing is marked: a torn last line goes
    return len(marked)


def provenance(plugins: Mapping[str, str], hosts: list[str], world: int, data: Mapping[str, Any]) -> dict[str, Any]:
    """Where a start of a run comes from; nothing of the environment but what is named here."""
    return {
        "at": _now(), "command": shlex.join(sys.argv), "git": _git_state(), "python": platform.python_version(),
        "versions": package_versions(), "plugins": dict(plugins), "data": dict(data),
        "hosts": hosts, "world": world, "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }  # fmt: skip


def package_versions() -> dict[str, str]:
    """Package -> version, of those whose version may change what a run does."""
    return {p: v for p in _PACKAGES if (v := _version(p))}


def host_name() -> str:
    return socket.gethostname()


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_state() -> dict[str, Any] | None:
    """Commit of the working directory and whether it has changes; None outside a repository."""
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10)
        status = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"commit": head.stdout.strip(), "changed": bool(status.stdout.strip())} if head.returncode == 0 else None
