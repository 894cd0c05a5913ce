"""Hosts of our own on one machine: network namespaces with an address and an sshd each, joined by a bridge.

Needs root, iproute2, OpenSSH's client and server, and pdsh; `missing` says which is not there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

NEEDED = {"ip": "iproute2", "ssh": "openssh-client", "sshd": "openssh-server", "ssh-keygen": "openssh-client", "pdsh": "pdsh",
          "unshare": "util-linux"}  # fmt: skip
_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"


def missing() -> list[str]:
    """What is not there of what hosts are made of."""
    absent = [f"{tool} ({package})" for tool, package in NEEDED.items() if shutil.which(tool, path=_PATH) is None]
    return absent if os.geteuid() == 0 else ["root", *absent]


class Hosts:
    """``names`` -> a shell command that prepares that host, in its own mounts, before its sshd starts. Use as a context;
    raises CalledProcessError where this machine makes no namespaces."""

    def __init__(self, folder: Path, names: Mapping[str, str]):
        self.folder, self.names = folder, dict(names)
        self._tag = f"dt{os.getpid() % 10_000}"
        self._subnet = f"10.78.{os.getpid() % 250}"
        self._servers: list[subprocess.Popen] = []

    def __enter__(self) -> Hosts:
        Path("/run/sshd").mkdir(exist_ok=True)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / "key")
        try:
            run("ip", "link", "add", self._tag, "type", "bridge")
            run("ip", "address", "add", f"{self._subnet}.1/24", "dev", self._tag)
            run("ip", "link", "set", self._tag, "up")
            for number, (name, prepare) in enumerate(self.names.items()):
                self._add(number, name, prepare)
        except BaseException:
            self.__exit__()
            raise
        self._write_configuration()
        return self

    def __exit__(self, *_: object) -> None:
        for name in self.names:
            inside = subprocess.run(["ip", "netns", "pids", self._space(name)], capture_output=True, text=True).stdout
            for pid in inside.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        for server in self._servers:
            server.wait()
        for name in self.names:
            subprocess.run(["ip", "netns", "delete", self._space(name)], capture_output=True)
        subprocess.run(["ip", "link", "delete", self._tag], capture_output=True)

    @property
    def environment(self) -> dict[str, str]:
        """What makes ssh and pdsh reach the hosts, and gloo use their network."""
        return {"PDSH_SSH_ARGS_APPEND": f"-F {self.folder / 'config'}", "GLOO_SOCKET_IFNAME": "eth0", "PATH": _PATH}

    def hostfile(self, *names: str) -> Path:
        path = self.folder / "-".join(["hosts", *names])
        path.write_text("".join(f"{name} slots=1\n" for name in names))
        return path

    def cut(self, name: str) -> None:
        """Take a host off the network."""
        run("ip", "-n", self._space(name), "link", "set", "eth0", "down")

    def mend(self, name: str) -> None:
        """Bring a host that was cut back."""
        run("ip", "-n", self._space(name), "link", "set", "eth0", "up")

    def _space(self, name: str) -> str:
        return f"{self._tag}-{name}"

    def _add(self, number: int, name: str, prepare: str) -> None:
        space, wire = self._space(name), f"{self._tag}-{number}"
        run("ip", "netns", "add", space)
        run("ip", "link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", space)
        run("ip", "link", "set", wire, "master", self._tag, "up")
        run("ip", "-n", space, "address", "add", f"{self._subnet}.{number + 10}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            run("ip", "-n", space, "link", "set", device, "up")
        options = [f"HostKey={self.folder / 'key'}", f"AuthorizedKeysFile={self.folder / 'key.pub'}", "StrictModes=no",
                   "PidFile=none", "PermitRootLogin=yes", "UsePAM=no"]  # fmt: skip
        sshd = " ".join([shutil.which("sshd", path=_PATH) or "sshd", "-D", "-p", "2222", *(f"-o {o}" for o in options)])
        script = f"hostname {name}; {prepare or ':'}; exec {sshd}"
        words = ["ip", "netns", "exec", space, "unshare", "--uts", "sh", "-ec", script]
        self._servers.append(subprocess.Popen(words, stderr=subprocess.DEVNULL))

    def _write_configuration(self) -> None:
        general = (f"Host *\n Port 2222\n User root\n IdentityFile {self.folder / 'key'}\n StrictHostKeyChecking no\n"
                   " UserKnownHostsFile /dev/null\n LogLevel ERROR\n")  # fmt: skip
        each = [f"Host {name}\n HostName {self._subnet}.{number + 10}\n" for number, name in enumerate(self.names)]
        (self.folder / "config").write_text("".join([*each, general]))
        end = time.monotonic() + 20
        while any(
            subprocess.run(["ssh", "-F", self.folder / "config", n, "true"], capture_output=True).returncode for n in self.names
        ):
            assert time.monotonic() < end, "an sshd does not come up"
            time.sleep(0.1)


def run(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True, env={**os.environ, "PATH": _PATH})
