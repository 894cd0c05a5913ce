"""Hosts of a job: reached by ssh, compared with this one before a start, so that what is wrong is said for each of them."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .errors import UserError
from .manager import Controls, get_manager
from .run import package_versions
from .worlds import Host

PDSH_SSH = "PDSH_SSH_ARGS_APPEND"
"""The variable that pdsh takes further options of ssh from; ours are there too, and the user's own go for both."""
_OPTIONS = ("-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-o", "ServerAliveInterval=3", "-o", "ServerAliveCountMax=4")
_MODULES = ("torch", "torchvision", "deepspeed", "pydantic", "numpy", "safetensors", "xxhash", "pyarrow", "obstore")
_TOKEN = ".launch-token"


def ssh_options() -> list[str]:
    return [*_OPTIONS, *shlex.split(os.environ.get(PDSH_SSH, ""))]


def over_ssh(host: str, command: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """What a shell command says on ``host``; 255 where ssh does not reach it."""
    words = ["ssh", *ssh_options(), host, command]
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=timeout_s, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 255, "", f"no answer within {timeout_s:.0f} s")
    except FileNotFoundError:
        raise UserError("there is no ssh on this machine", remedy="install openssh-client") from None


def answering(hosts: Iterable[Host]) -> list[Host]:
    """Those that ssh reaches now."""
    return [host for host, done in _on_all(list(hosts), "true", 10) if done.returncode == 0]


def _on_all(hosts: Sequence[Host], command: str, timeout_s: float) -> list[tuple[Host, subprocess.CompletedProcess[str]]]:
    with ThreadPoolExecutor(min(64, len(hosts))) as threads:
        return list(zip(hosts, threads.map(lambda host: over_ssh(host.name, command, timeout_s), hosts)))


def facts(run: Path) -> dict[str, Any]:
    """What must be the same on all hosts, as this one has it: versions, plugins, the token in the run's folder."""
    found = {name: find_spec(name) for name in _MODULES}
    missing = [name for name, spec in found.items() if spec is None or spec.origin is None]  # also an empty folder
    token = run / _TOKEN
    return {
        "python": ".".join(map(str, sys.version_info[:2])), "packages": package_versions(), "plugins": get_manager().digest(),
        "missing": missing, "token": token.read_text() if token.is_file() else None, "addresses": _addresses(),
    }  # fmt: skip


def _addresses() -> list[str]:
    try:
        return subprocess.run(["hostname", "-I"], capture_output=True, text=True).stdout.split()
    except OSError:
        return []


def check_hosts(hosts: Sequence[Host], run: Path, controls: Sequence[str]) -> str:
    """Ask each host for its `facts` and compare them with this one's. Returns the first host's address.

    Raises UserError with what is wrong, a line a host."""
    run.mkdir(parents=True, exist_ok=True)
    (run / _TOKEN).write_text(secrets.token_hex(8))
    try:
        here = facts(run)
        words = [sys.executable, "-m", "drivetrain", *controls, "host-facts", str(run.resolve())]
        answers = _on_all(hosts, f"cd {shlex.quote(os.getcwd())} && {shlex.join(words)}", 120)
    finally:
        (run / _TOKEN).unlink(missing_ok=True)
    there = {host.name: _read(done) for host, done in answers}
    wrong = {name: told if isinstance(told, str) else _differences(here, told, run) for name, told in there.items()}
    lines = [f"{name}: {what}" for name, what in wrong.items() if what]
    if lines:
        raise UserError("hosts are not ready:\n  " + "\n  ".join(lines), remedy="mend them, or take them out of the hostfile")
    first = there[hosts[0].name]
    assert isinstance(first, dict)
    return (first["addresses"] or [hosts[0].name])[0]


def _read(done: subprocess.CompletedProcess[str]) -> dict[str, Any] | str:
    """A host's facts, or why there are none."""
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    if done.returncode == 255:
        return f"ssh does not reach it without a password: {last}"
    try:
        return json.loads(done.stdout)
    except ValueError:
        return f"drivetrain does not start there with {sys.executable} in {os.getcwd()}: {last}"


def _differences(here: Mapping[str, Any], there: Mapping[str, Any], run: Path) -> str:
    """What differs on a host, empty if nothing does."""
    wrong = [f"{name} is not installed" for name in there["missing"]]
    if there["python"] != here["python"]:
        wrong.append(f"Python {there['python']}, here {here['python']}")
    for what in ("packages", "plugins"):
        mine, theirs = here[what], there[what]
        for name in sorted(mine.keys() | theirs.keys()):
            if mine.get(name) != theirs.get(name) and name not in there["missing"]:
                wrong.append(f"{name} {theirs.get(name, 'is not there')}, here {mine.get(name, 'not there')}")
    if there["token"] != here["token"]:
        wrong.append(f"{run} is not this machine's folder of that name: the run's folder must be on a shared file system")
    return "; ".join(dict.fromkeys(wrong))


def control_words(controls: Controls) -> list[str]:
    """The words on a command line that give ``controls``."""
    return [w for name in controls.blocked for w in ("-p", f"no:{name}")] + [
        w for file in controls.files for w in ("--plugin", file)
    ]
