"""``drivetrain doctor``: is this machine ready?"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterable, Iterator

import typer

from ..declarations import Finding
from ..manager import PluginManager, get_manager


def doctor() -> None:
    """Look at Python, torch, accelerators, plugins and disk, and say what is wrong and what to do about it."""
    manager = get_manager()
    worst = "ok"
    for finding in [*_machine(), *_torch(), *_plugins(manager), *_of_plugins(manager)]:
        mark = {"ok": "ok     ", "warning": "warning", "error": "error  "}[finding.status]
        print(f"{mark}  {finding.what}" + (f"\n         {finding.remedy}" if finding.remedy else ""))
        if finding.status == "error" or worst == "ok":
            worst = finding.status
    if worst == "error":
        raise typer.Exit(1)


def _machine() -> Iterator[Finding]:
    yield Finding("ok", f"Python {platform.python_version()} on {platform.machine()}, {len(os.sched_getaffinity(0))} cores")
    free = shutil.disk_usage(os.getcwd()).free / 2**30
    status, remedy = ("ok", "") if free > 5 else ("warning", "checkpoints and shards may not fit")
    yield Finding(status, f"{free:.0f} GiB free in {os.getcwd()}", remedy)
    shm = shutil.disk_usage("/dev/shm").free / 2**30 if os.path.isdir("/dev/shm") else 0
    status, remedy = ("ok", "") if shm > 0.5 else ("warning", "containers: start with a larger --shm-size")
    yield Finding(status, f"{shm:.1f} GiB of shared memory", remedy)


def _torch() -> Iterator[Finding]:
    try:
        import torch
        import torchvision
    except Exception as error:
        yield Finding("error", f"torch or torchvision does not import: {error}", "install the pair that pyproject.toml names")
        return
    yield Finding("ok", f"torch {torch.__version__}, torchvision {torchvision.__version__}")
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            yield Finding("ok", f"GPU {i}: {torch.cuda.get_device_name(i)}")
    else:
        yield Finding("ok", "no GPU: training runs on the CPU")


def _plugins(manager: PluginManager) -> Iterator[Finding]:
    loaded = [e for e in manager.entries if e.status == "loaded"]
    yield Finding("ok", f"{len(manager.found())} plugins from {len(loaded)} entry points")
    for entry in manager.entries:
        if entry.status == "failed":
            remedy = f"leave it out with -p no:{entry.full_name}, or mend it"
            yield Finding("error", f"plugin {entry.full_name} {entry.version}: {entry.error}", remedy)


def _of_plugins(manager: PluginManager) -> Iterable[Finding]:
    for found in manager.found("health_check"):
        try:
            yield from found.load_factory()()
        except Exception as error:
            print(f"{found.full_name}: {error}", file=sys.stderr)
            yield Finding("error", f"health check {found.full_name} failed: {type(error).__name__}: {error}")
