"""Training epochs over HTTP roots, each nginx in a network namespace of its own limited to 200 Mbit/s: `make bench-storage`.

Through the loader's stream of batches: an epoch from four roots against one, with one of the four ten times slower, and with
one cut in the middle, where each sample must still come exactly once; how the rate goes with reader threads and with the size
of the set; and what two ranks of a node fetch, by the servers' logs, with the node's cache and without. Needs root, iproute2
and nginx. Prints JSON lines; rates and ratios are medians of interleaved rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from itertools import count
from pathlib import Path
from threading import Timer
from typing import Any

from storage_epoch import A_SHARD, MICRO, WINDOW, Asked, Came, write
from storage_hosts import Host, bridge, host

ROOTS, SHARDS, ROUNDS = 4, 40, 3
SAMPLES = SHARDS * A_SHARD
SHORT = SAMPLES // MICRO // 4  # batches, where no whole epoch is needed
THREADS, MORE_SHARDS = (1, 2, 4, 8), 10
Child = subprocess.Popen[str]


class Bench:
    """A set of ``SHARDS`` shards and one of a tenth of it, on every one of ``hosts``."""

    def __init__(self, folder: Path, stack: ExitStack, mbit: float):
        self.mbit = mbit
        self.folder, self._stack, self._numbers = folder, stack, count()
        sets = folder / "sets"
        self.keys = write(SAMPLES, sets / "all")
        write(SAMPLES // MORE_SHARDS, sets / "tenth")
        self.tars = sum(path.stat().st_size for path in (sets / "all").glob("*.tar"))
        stack.enter_context(bridge())
        self.hosts = [stack.enter_context(host(i, sets, folder / f"host{i}", mbit)) for i in range(ROOTS)]

    def start(self, roots: int = ROOTS, batches: int = SAMPLES // MICRO, name: str = "all", **more: Any) -> Child:
        asked = Asked([f"{h.address}/{name}" for h in self.hosts[:roots]], batches, **more)
        words = [sys.executable, str(Path(__file__).with_name("storage_epoch.py")), json.dumps(asdict(asked))]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "LOCAL_WORLD_SIZE": str(asked.world)}
        child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
        self._stack.callback(child.kill)  # where the benchmark ends early
        assert child.stdout is not None and child.stdout.readline() == "go\n", "it did not begin"
        return child

    def epoch(self, roots: int = ROOTS) -> Came:
        """A whole epoch through an empty cache, each sample once."""
        with self.cache() as cache:
            return self.once([ended(self.start(roots, cache=cache))])[0]

    def once(self, ranks: list[Came], epochs: int = 1) -> list[Came]:
        assert sorted(key for came in ranks for key in came.keys) == sorted(self.keys * epochs), "each sample exactly once"
        return ranks

    @contextmanager
    def cache(self) -> Iterator[str]:
        path = self.folder / f"cache{next(self._numbers)}"
        try:
            yield str(path)
        finally:
            shutil.rmtree(path, ignore_errors=True)


def ended(child: Child) -> Came:
    out, _ = child.communicate()
    assert child.returncode == 0, "the loader failed"
    return Came(**json.loads(out))


def rate(came: Came) -> float:
    """MB/s of what the batches hold."""
    return came.bytes / came.seconds / 1e6


def say(figure: str, value: float, unit: str, **more: Any) -> None:
    print(json.dumps({"figure": figure, "value": round(value, 3), "unit": unit, **more}), flush=True)


@contextmanager
def slowed(made: Host, mbit: float) -> Iterator[None]:
    """At a tenth of its rate."""
    made.rate(mbit / 10)
    try:
        yield
    finally:
        made.rate(mbit)


def with_one_cut(bench: Bench, usual: float) -> Came:
    """An epoch of which one root vanishes when half of its usual time is over."""
    with bench.cache() as cache:
        child, gone = bench.start(cache=cache), bench.hosts[2]
        timer = Timer(usual / 2, gone.link, ("down",))
        timer.start()
        try:
            return bench.once([ended(child)])[0]
        finally:
            timer.cancel()
            timer.join()
            gone.link("up")


def epochs(bench: Bench, rounds: int) -> None:
    """Four roots against one, one of them slow, one of them cut."""
    rows = []
    for _ in range(rounds):
        one, four = bench.epoch(1), bench.epoch()
        with slowed(bench.hosts[3], bench.mbit):
            slow = bench.epoch()
        rows.append((one, four, slow, with_one_cut(bench, four.seconds)))
    one, four, slow, cut = ([came.seconds for came in column] for column in zip(*rows))

    def median(values: Any) -> float:
        return statistics.median(values)

    for name, roots in (("one_root", 0), ("four_roots", 1)):
        first, cpu = (median(getattr(row[roots], what) for row in rows) for what in ("first", "cpu"))
        say(name, median(rate(row[roots]) for row in rows), "MB/s", first_batch_s=round(first, 2), cpu_s=round(cpu, 2))
    say("four_roots_vs_one", median(a / b for a, b in zip(one, four)), "ratio")
    say("epoch_with_one_slow_root", median(a / b for a, b in zip(four, slow)), "of the rate of four healthy roots",
        slow_root="a tenth of the others' rate")  # fmt: skip
    say("epoch_with_one_root_cut", median(a / b for a, b in zip(cut, four)), "times as long", samples=SAMPLES, each_once=True,
        longest_s=round(max(cut), 1))  # fmt: skip


def scaling(bench: Bench, rounds: int) -> None:
    """Without the cache, so that the reader threads themselves ask the roots."""
    by_threads: dict[int, list[float]] = {threads: [] for threads in THREADS}
    by_size: dict[str, list[float]] = {"tenth": [], "all": []}
    for _ in range(rounds):
        for threads, rates in by_threads.items():
            rates.append(rate(ended(bench.start(batches=SHORT, threads=threads))))
        for name, rates in by_size.items():
            rates.append(rate(ended(bench.start(batches=2 * SHORT, threads=8, name=name))))
    for threads, rates in by_threads.items():
        say("storage_scaling_threads", statistics.median(rates), "MB/s", threads=threads)
    for name, rates in by_size.items():
        shards = SHARDS if name == "all" else SHARDS // MORE_SHARDS
        say("storage_scaling_size", statistics.median(rates), "MB/s", shards=shards)
    ratio = statistics.median(a / b for a, b in zip(by_size["all"], by_size["tenth"]))
    say("storage_scaling_size_ratio", ratio, f"of the rate at a {MORE_SHARDS}th of the shards")


def over_the_wire(bench: Bench) -> None:
    """Two ranks of a node read two epochs: what the servers sent for each byte of the set."""
    for cached in (True, False):
        with bench.cache() as folder:
            before = sum(h.sent() for h in bench.hosts)
            more = {"cache": folder if cached else None, "world": 2, "batches": SAMPLES // MICRO}
            children = [bench.start(rank=rank, **more) for rank in range(2)]
            ranks = bench.once([ended(child) for child in children], epochs=2)
        sent = sum(h.sent() for h in bench.hosts) - before
        say("wire_bytes_per_byte_of_the_set", sent / bench.tars, "ratio", cache=cached, ranks=2, epochs=2, **totals(ranks))


def totals(ranks: list[Came]) -> dict[str, float]:
    """Of all ranks: how their reads found the cache, and what was asked for twice."""
    names = ("cache/hits", "cache/waits", "cache/misses", "/hedges")
    found = [(key, value) for came in ranks for key, value in came.counters.items()]
    return {name.strip("/"): sum(value for key, value in found if key.endswith(name)) for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mbit", type=float, default=200, help="a root's rate: less where the cores are busy with other work")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    if os.getuid() or not shutil.which("nginx"):
        sys.exit("needs root, since it makes network namespaces, and nginx")
    with ExitStack() as stack, suppress(KeyboardInterrupt):
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bench = Bench(folder, stack, arguments.mbit)
        for made in bench.hosts:  # nginx is up, and the files are in the memory of the machine
            ended(bench.start(roots=bench.hosts.index(made) + 1, batches=SHORT // 2))
        say("set", bench.tars / 1e6, "MB", shards=SHARDS, samples=SAMPLES, window=WINDOW, micro=MICRO,
            mbit_of_a_root=arguments.mbit, load=os.getloadavg()[0])  # fmt: skip
        over_the_wire(bench)
        epochs(bench, arguments.rounds)
        scaling(bench, arguments.rounds)


if __name__ == "__main__":
    main()
