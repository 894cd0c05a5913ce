"""A real Slurm of one host, in a folder of its own: munged, slurmctld and slurmd. `missing` says which is not there."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

NEEDED = {"munged": "munge", "slurmctld": "slurmctld", "slurmd": "slurmd", "srun": "slurm-client"}
_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
_CONFIGURATION = """
ClusterName=drivetrain
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
KillWait=5
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdSpoolDir={folder}/spool
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> list[str]:
    """What is not there of what a Slurm is made of."""
    absent = [f"{tool} ({package})" for tool, package in NEEDED.items() if shutil.which(tool, path=_PATH) is None]
    return absent if os.geteuid() == 0 else ["root", *absent]


class Slurm:
    """Use as a context; raises CalledProcessError where a server does not start."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": _PATH}

    def __enter__(self) -> Slurm:
        for name in ("spool", "state"):
            (self.folder / name).mkdir()
        (self.folder / "munge.key").write_bytes(os.urandom(1024))
        (self.folder / "munge.key").chmod(0o400)
        host = socket.gethostname().partition(".")[0]
        (self.folder / "slurm.conf").write_text(_CONFIGURATION.format(host=host, folder=self.folder, ports=_free_ports(2)))
        try:
            self._start_servers()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start_servers(self) -> None:
        files = {"socket": "munge.sock", "key-file": "munge.key", "pid-file": "munged.pid", "log-file": "munged.log",
                 "seed-file": "munge.seed"}  # fmt: skip
        self.run("munged", "--force", *(f"--{option}={self.folder / name}" for option, name in files.items()))
        self.run("slurmctld")
        self.run("slurmd")
        end = time.monotonic() + 30
        while "idle" not in self.run("sinfo", "--noheader", "--format=%T"):
            if time.monotonic() > end:
                raise subprocess.CalledProcessError(1, "sinfo", stderr=(self.folder / "slurmctld.log").read_text())
            time.sleep(0.2)

    def __exit__(self, *_: object) -> None:
        with suppress(subprocess.CalledProcessError):
            self.run("scancel", "--user=root")
        for name in ("slurmd", "slurmctld", "munged"):
            with suppress(OSError, ValueError):
                os.kill(int((self.folder / f"{name}.pid").read_text()), signal.SIGTERM)

    def run(self, *command: object) -> str:
        """A command of Slurm's: what it prints. Raises CalledProcessError."""
        words = [str(word) for word in command]
        return subprocess.run(words, env=self.environment, check=True, capture_output=True, text=True, timeout=300).stdout

    def state(self, job: str) -> dict[str, str]:
        """What Slurm says of a job, by its own words (``JobState``, ``Restarts``, ``ExitCode``)."""
        words = self.run("scontrol", "--oneliner", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def await_end(self, job: str, timeout_s: float = 300) -> dict[str, str]:
        end = time.monotonic() + timeout_s
        while (state := self.state(job))["JobState"] in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "REQUEUED"):
            assert time.monotonic() < end, state
            time.sleep(0.3)
        return state


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
