"""Bandwidth of four HTTP roots against one, each in a network namespace of its own limited to 200 Mbit/s.

Then with one root at a tenth of its rate, and with one of three cut in the middle: every file must still arrive, whole.

Needs root and iproute2. Prints JSON lines: MB/s of each, and ``four_roots_vs_one``, medians of interleaved runs.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Timer

from drivetrain.plugins.loaders.webdataset.storage.config import StorageConfig
from drivetrain.plugins.loaders.webdataset.storage.roots import Roots

ROOTS, FILES, BYTES, RUNS, RATE = 4, 800, 1 << 17, 3, "200mbit"
NET, BRIDGE, PORT = "10.79.0", "dtbench0", 8099


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextmanager
def bridge():
    ip("link", "add", BRIDGE, "type", "bridge")
    try:
        ip("addr", "add", f"{NET}.1/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        yield
    finally:
        ip("link", "del", BRIDGE)


@contextmanager
def host(number: int, folder: Path):
    """An HTTP server on ``folder`` in its own namespace; gives its address."""
    name, address = f"dtbench{number}", f"{NET}.{10 + number}"
    ip("netns", "add", name)
    try:
        ip("link", "add", f"dtb{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("link", "set", f"dtb{number}", "master", BRIDGE, "up")
        ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")
        limit = ["root", "tbf", "rate", RATE, "burst", "256kb", "latency", "50ms"]
        subprocess.run(["tc", "-n", name, "qdisc", "add", "dev", "eth0", *limit], check=True)
        serve = [sys.executable, "-m", "http.server", str(PORT), "--directory", str(folder), "--protocol", "HTTP/1.1"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        server = subprocess.Popen(["ip", "netns", "exec", name, *serve], **quiet)
        try:
            yield f"http://{address}:{PORT}"
        finally:
            server.kill()
            server.wait()
    finally:
        subprocess.run(["ip", "link", "del", f"dtb{number}"])  # at once: a namespace takes its time
        ip("netns", "del", name)


def bandwidth(addresses: list[str], files: int) -> float:
    """MB/s of reading ``files`` files through a fresh set of roots."""
    roots = Roots(addresses, StorageConfig(timeout_s=10, retry_s=60))
    began = time.monotonic()
    with ThreadPoolExecutor(16 * len(addresses)) as pool:
        read = sum(map(len, pool.map(lambda i: roots.get(f"{i}.tar"), range(files))))
    seconds = time.monotonic() - began
    assert read == files * BYTES, "every file, whole"
    roots.close()
    return read / seconds / 1e6


def main() -> None:
    if os.getuid():
        sys.exit("needs root: it makes network namespaces")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for i in range(FILES):
            (folder / f"{i}.tar").write_bytes(os.urandom(BYTES))
        stack.enter_context(bridge())
        addresses = [stack.enter_context(host(i, folder)) for i in range(ROOTS)]
        bandwidth(addresses, 100)  # the servers are up and the files warm
        rates = [(bandwidth(addresses[:1], FILES // 2), bandwidth(addresses, FILES)) for _ in range(RUNS)]
        limit = ["dev", "eth0", "root", "tbf", "rate", "20mbit", "burst", "256kb", "latency", "50ms"]
        subprocess.run(["tc", "-n", "dtbench3", "qdisc", "change", *limit], check=True)
        slow = bandwidth(addresses, FILES)
        Timer(0.4, ip, ("-n", "dtbench2", "link", "set", "eth0", "down")).start()
        cut = bandwidth(addresses[:3], FILES)
    one, four = (statistics.median(values) for values in zip(*rates))
    print(json.dumps({"figure": "one_root", "value": round(one, 1), "unit": "MB/s"}))
    print(json.dumps({"figure": "four_roots", "value": round(four, 1), "unit": "MB/s"}))
    ratio = statistics.median(b / a for a, b in rates)
    print(json.dumps({"figure": "four_roots_vs_one", "value": round(ratio, 2), "unit": "ratio"}))
    print(json.dumps({"figure": "four_roots_one_ten_times_slower", "value": round(slow, 1), "unit": "MB/s"}))
    print(json.dumps({"figure": "three_roots_one_cut", "value": round(cut, 1), "unit": "MB/s"}))


if __name__ == "__main__":
    main()
