"""Hosts for the storage benchmark: network namespaces, each with nginx behind a limited link."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

NET, BRIDGE, PORT = "10.79.0", "dtbench0", 8099

NGINX = """
daemon off; worker_processes 1; {user} pid {here}/pid; error_log {here}/error;
events {{ worker_connections 512; }}
http {{
    log_format bytes '$uri $body_bytes_sent';
    access_log {here}/access bytes;
    client_body_temp_path {here}/body; proxy_temp_path {here}/proxy; fastcgi_temp_path {here}/fastcgi;
    uwsgi_temp_path {here}/uwsgi; scgi_temp_path {here}/scgi;
    sendfile on; tcp_nopush on; keepalive_requests 1000000;
    server {{ listen {address}:{port}; root {folder}; }}
}}
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextmanager
def bridge() -> Iterator[None]:
    ip("link", "add", BRIDGE, "type", "bridge")
    try:
        ip("addr", "add", f"{NET}.1/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        yield
    finally:
        ip("link", "del", BRIDGE)


@dataclass(frozen=True)
class Host:
    """A running server: the namespace it is in, its address, and where nginx writes what it has sent."""

    name: str
    address: str
    log: Path

    def rate(self, mbit: float, change: str = "change") -> None:
        limit = ["root", "tbf", "rate", f"{mbit:g}mbit", "burst", "256kb", "latency", "50ms"]
        subprocess.run(["tc", "-n", self.name, "qdisc", change, "dev", "eth0", *limit], check=True)

    def link(self, state: str) -> None:
        """``up`` or ``down``: a host that is down answers nothing, not even that it refuses."""
        ip("-n", self.name, "link", "set", "eth0", state)

    def sent(self) -> int:
        """Bytes of tars in all answers so far."""
        lines = (line.split() for line in self.log.read_text().splitlines())
        return sum(int(size) for path, size in lines if path.endswith(".tar"))


@contextmanager
def host(number: int, folder: Path, here: Path, mbit: float) -> Iterator[Host]:
    """nginx on ``folder`` in a namespace of its own, whose link sends ``mbit`` a second; its files go to ``here``."""
    name, address, veth = f"dtbench{number}", f"{NET}.{10 + number}", f"dtb{number}"
    made = Host(name, f"http://{address}:{PORT}", here / "access")
    ip("netns", "add", name)
    try:
        ip("link", "add", veth, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("link", "set", veth, "master", BRIDGE, "up")
        ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
        made.link("up")
        made.rate(mbit, "add")
        with nginx(name, address, folder, here):
            yield made
    finally:
        subprocess.run(["ip", "link", "del", veth])  # at once: a namespace takes its time
        ip("netns", "del", name)


@contextmanager
def nginx(name: str, address: str, folder: Path, here: Path) -> Iterator[None]:
    here.mkdir()
    config = here / "nginx.conf"
    config.write_text(NGINX.format(user="user root;", here=here, address=address, port=PORT, folder=folder))
    server = subprocess.Popen(["ip", "netns", "exec", name, "nginx", "-e", str(here / "error"), "-c", str(config)])
    try:
        yield
    finally:
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(10)
