"""The commands that start a job's ranks: ``deepspeed`` on this host or over pdsh, ``torchrun`` on this host, ``srun``."""

from __future__ import annotations

import base64
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import UserError
from .hosts import PDSH_SSH, ssh_options
from .run import RunFolder
from .watch import EXIT_FILE
from .worlds import Host

_EXPORTED = ("DRIVETRAIN_", "DS_", "GLOO_", "NCCL_", "OMP_", "TORCH_", "HF_HUB_OFFLINE", "WANDB_MODE",
             "WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_PROJECT", "WANDB_ENTITY")  # fmt: skip
"""Beginnings of the variables that other hosts are given, beside those that the recipe names: settings, no secrets."""

_RANK = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "LOCAL_SIZE", "LOCAL_WORLD_SIZE",
         "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_NAME", "ROLE_WORLD_SIZE", "CROSS_RANK", "CROSS_SIZE"}  # fmt: skip
"""Variables by which launchers tell a rank who it is; and those that begin so:"""
_RANK_TOO = ("TORCHELASTIC_", "SLURM_STEP_")
GPUS = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Command:
    """``words`` to run with ``environment`` added to this process's."""

    words: list[str]
    environment: dict[str, str]


def local_command(ranks: int, port: int, with_: str, train: Sequence[str]) -> Command:
    """``ranks`` ranks on this host; ``with_`` is deepspeed or torchrun."""
    if with_ == "torchrun":
        head = [tool("torchrun"), "--nproc-per-node", str(ranks), "--master-addr", "127.0.0.1", "--master-port", str(port)]
        return Command([*head, "--module", "--", "drivetrain", *train], {})
    head = [tool("deepspeed"), "--quiet", "--hostfile", os.devnull, *_where(ranks), "--master_port", str(port)]
    return Command([*head, "--no_local_rank", "--module", "drivetrain", *train], _path())


def _where(ranks: int) -> list[str]:
    """``deepspeed`` passes over the GPUs that the environment names where it is given a number, and takes none but numbers."""
    gpus = local_gpus()
    if GPUS in os.environ and len(gpus) >= ranks and all(gpu.isdigit() for gpu in gpus) and _all_gpus():
        return ["--include", f"localhost:{','.join(gpus[:ranks])}"]
    return ["--num_accelerators", str(ranks)]


def devices_command(devices: Sequence[str], port: int, train: Sequence[str]) -> Command:
    """A rank on each of ``devices``, as `GPUS` names them, of this host. That is what the command ``deepspeed`` starts for a
    host: itself it takes no GPUs by other names than numbers, and ends with 0 where its own process is killed."""
    world = base64.urlsafe_b64encode(json.dumps({"localhost": list(devices)}).encode()).decode()
    head = [sys.executable, "-u", "-m", "deepspeed.launcher.launch", f"--world_info={world}", "--master_addr=127.0.0.1",
            f"--master_port={port}", "--quiet", "--no_local_rank", "--module"]  # fmt: skip
    return Command([*head, "drivetrain", *train], _path())


def local_gpus() -> list[str]:
    """The GPUs of this host that this process may use, as CUDA_VISIBLE_DEVICES names them; none on a machine without."""
    listed = os.environ.get(GPUS)
    if listed is not None:
        return [name.strip() for name in listed.split(",") if name.strip() not in ("", "-1")]
    return [str(n) for n in range(len(_all_gpus()))]


def _all_gpus() -> list[Path]:
    return list(Path("/dev").glob("nvidia[0-9]*"))


def outer_environment() -> dict[str, str]:
    """This process's environment, without what a launcher said of it as a rank: a job that it starts has ranks of its own."""
    return {k: v for k, v in os.environ.items() if k not in _RANK and not k.startswith(_RANK_TOO)}


def hosts_command(hosts: Sequence[Host], address: str, port: int, folder: Path, recipe: str, train: Sequence[str]) -> Command:
    """A rank a slot of ``hosts``, over pdsh; ``address`` is the first one's. What DeepSpeed reads is written to ``folder``."""
    if shutil.which("pdsh") is None:
        raise UserError("there is no pdsh on this machine, which starts ranks on other hosts", remedy="install pdsh")
    folder.mkdir(parents=True, exist_ok=True)
    hostfile, environment = (folder.resolve() / name for name in (".hosts", ".environment"))
    hostfile.write_text("".join(f"{host.name} slots={host.slots}\n" for host in hosts))
    values = exported(recipe) | {EXIT_FILE: str(RunFolder(folder).exit_file)}
    environment.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    head = [tool("deepspeed"), "--quiet", "--hostfile", str(hostfile), "--force_multi", "--no_ssh_check",
            "--master_addr", address, "--master_port", str(port)]  # fmt: skip
    added = {"DS_ENV_FILE": str(environment), PDSH_SSH: " ".join(ssh_options())}
    return Command([*head, "--no_local_rank", "--module", "drivetrain", *train], added | _path())


def slurm_command(ranks: int | None, train: Sequence[str]) -> Command:
    """The tasks of a Slurm allocation. Raises UserError outside of one."""
    nodes = os.environ.get("SLURM_JOB_NODELIST")
    if not nodes or shutil.which("srun") is None:
        raise UserError("--slurm starts ranks within an allocation, and this is none",
                        remedy="put the command into a batch script (docs/launching.md), or get one with salloc")  # fmt: skip
    shown = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True)
    first = (shown.stdout.split() or [socket.gethostname()])[0]
    count = [] if ranks is None else ["--ntasks", str(ranks)]
    cpus = os.environ.get("SLURM_CPUS_PER_TASK")  # of sbatch and salloc, which srun does not take over by itself since 22.05
    each = [f"--cpus-per-task={cpus}"] if cpus else []
    words = ["srun", *count, *each, "--kill-on-bad-exit=1", sys.executable, "-u", "-m", "drivetrain", *train]
    return Command(words, {"MASTER_ADDR": first, "MASTER_PORT": str(some_port())})


def exported(recipe: str) -> dict[str, str]:
    """Variables of this environment that ranks on other hosts need: settings, and what the text of the recipe names."""
    named = set(re.findall(r"\$\{(\w+)", recipe))
    return {k: v for k, v in os.environ.items() if (k.startswith(_EXPORTED) or k in named) and "\n" not in v}


def tool(name: str) -> str:
    """The path of a launcher: beside this Python, or on the path. Raises UserError where there is none."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise UserError(f"there is no {name} here", remedy="install drivetrain with all that it needs")
    return found


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def some_port() -> int:
    """One that is likely free on another host: below those that systems hand out by themselves."""
    return random.randrange(20_000, 32_000)


def _path() -> dict[str, str]:
    """DeepSpeed looks for its own tools on the path."""
    return {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
