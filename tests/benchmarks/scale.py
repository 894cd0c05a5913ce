"""The order at the size of a fleet's recordings: `make scale`.

A set of 10^9 samples in 10^6 shards, its list of shards written as a real set's is, for 4,096 ranks of one slot each. What is
asked of it: every sample once an epoch; any position at once; little memory; a node reads its share, not the set.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from drivetrain import DataSpec, Source
from drivetrain.plugins.loaders.webdataset.config import WebDatasetConfig
from drivetrain.plugins.loaders.webdataset.loader import WebDatasetLoader
from drivetrain.plugins.loaders.webdataset.order import Order
from drivetrain.plugins.loaders.webdataset.shards import DATASET_FILE, FORMAT_VERSION, SHARDS_FILE, order_id, shard_name

MICRO, WINDOW, NODE = 4, 64, 64  # ranks a node


def write_list(folder: Path, shards: int, mean: int) -> int:
    """A set without its tars, its shards of different sizes. Returns its samples."""
    folder.mkdir()
    sizes = np.random.default_rng(0).integers(mean // 2, mean + mean // 2 + 1, shards)
    names = [shard_name(i) for i in range(shards)]
    columns = {"name": names, "samples": sizes, "bytes": sizes * 100_000, "checksum": sizes.astype(np.uint64)}
    pq.write_table(pa.table(columns), folder / SHARDS_FILE, compression="zstd")
    info = {
        "format_version": FORMAT_VERSION, "dataset": "fleet", "split": "train", "samples": int(sizes.sum()), "shards": shards,
        "classes": {}, "cameras": {"cam_front": [[1280, 720]]}, "content_id": "0",
        "order_id": order_id(list(zip(names, sizes.tolist()))),
    }  # fmt: skip
    (folder / DATASET_FILE).write_text(json.dumps(info))
    return int(sizes.sum())


def stream_of(folder: Path, rank: int, world: int) -> Any:
    spec = DataSpec((Source("fleet", str(folder)),), (), {}, None, {}, seed=3)
    return WebDatasetLoader(WebDatasetConfig(window=WINDOW)).training(
        spec, batch_global=world * MICRO, batch_micro=MICRO, rank=rank, world=world, threads=0, pin=False
    )


def order_of(stream: Any) -> Order:
    [line] = stream._draws._lines.values()
    return line._generations[-1].order


def resume_seconds(folder: Path, world: int, steps: int, times: int) -> float:
    """The longest, of some random ranks and steps, from nothing to the plan of the first micro-batch."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        stream, step = stream_of(folder, rank := random.randrange(world), world), random.randrange(steps)
        stream._plan(step, rank)
        seconds.append(time.perf_counter() - began)
        stream.close()
    return max(seconds)


def resident_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def check_lanes(order: Order, epoch: int) -> None:
    """By algebra: the lanes cut the epoch's line with no gap, and each lane's pools cut the lane."""
    edges = [order._lane(epoch, slot) for slot in range(order.slots + 1)]
    assert edges[0] == 0 and edges[-1] == order.total and edges == sorted(edges)
    for slot in random.sample(range(order.slots), 32):
        at = edges[slot]
        while at < edges[slot + 1]:
            low, high = order._windowed(epoch, edges[slot], edges[slot + 1], at)
            assert low == at < high, f"the pools of lane {slot} leave a gap or overlap at {at}"
            at = high
        assert at == edges[slot + 1]


def check_draws(order: Order, lanes: int) -> int:
    """By drawing: whole lanes of the first epoch, each sample once, and those that the line has there. How many were drawn."""
    drawn = 0
    numbers, starts = order._epoch(0)
    for slot in random.sample(range(order.slots), lanes):
        low, high = order._lane(0, slot), order._lane(0, slot + 1)
        shards, places = order.draw(slot, 0, high - low)
        line = np.arange(low, high)
        t = np.searchsorted(starts, line, "right") - 1
        expected = numbers[t].astype(np.int64) << 32 | (line - starts[t])
        assert np.array_equal(np.sort(shards << 32 | places), np.sort(expected)), f"lane {slot}"
        drawn += high - low
    return drawn


def fetched(order: Order, nodes: int) -> float:
    """Shards that all nodes fetch whole in an epoch, each those of its lanes, over the shards that there are."""
    starts, share = order._epoch(0).starts, order.slots // nodes
    edges = [order._lane(0, node * share) for node in range(nodes + 1)]
    first, last = (np.searchsorted(starts, at, "right") - 1 for at in (np.array(edges[:-1]), np.array(edges[1:]) - 1))
    return float((last - first + 1).sum()) / len(order.sizes)


def spread(order: Order) -> float:
    """Distinct shards among the first 64 samples of a lane, over what 64 independent draws from its window would give."""
    shares = []
    for slot in random.sample(range(order.slots), 64):
        shards, _ = order.draw(slot, 0, 64)
        low, high = order._windowed(0, order._lane(0, slot), order._lane(0, slot + 1), order._lane(0, slot))
        starts = order._epoch(0).starts
        window = int(np.searchsorted(starts, high - 1, "right") - np.searchsorted(starts, low, "right")) + 1
        shares.append(len(set(shards.tolist())) / (window * (1 - (1 - 1 / window) ** 64)))
    return float(np.mean(shares))


def measure(folder: Path, world: int) -> list[dict[str, Any]]:
    """The figures of the set in ``folder``; raises AssertionError where a sample would be drawn twice or never."""
    with tempfile.TemporaryDirectory() as temporary:
        write_list(Path(temporary, "few"), 10, 4)
        stream_of(Path(temporary, "few"), 0, 1).close()  # what is imported and allocated for any set
    before = resident_mb()
    stream = stream_of(folder, world // 2, world)
    for step in range(10_000, 10_064):
        stream._plan(step, world // 2)
    grown, order = resident_mb() - before, order_of(stream)
    seconds = resume_seconds(folder, world, 10 * order.total // (world * MICRO), 8)
    check_lanes(order, 0)
    check_lanes(order, 3)
    drawn = check_draws(order, 8)
    return [
        {"figure": "samples", "value": order.total, "unit": "samples", "shards": len(order.sizes), "ranks": world},
        {"figure": "drawn_once", "value": drawn, "unit": "samples"},
        {"figure": "resume_seconds", "value": round(seconds, 3), "unit": "s"},
        {"figure": "resident_beyond_imports", "value": round(grown, 1), "unit": "MiB"},
        {"figure": "state_bytes", "value": len(json.dumps(stream.state(10**6))), "unit": "bytes"},
        {"figure": "fetched_by_nodes", "value": round(fetched(order, max(1, world // NODE)), 4), "unit": "x the set"},
        {"figure": "first_64_of_a_lane", "value": round(spread(order), 3), "unit": "of independent draws from its window"},
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=10**6)
    parser.add_argument("--mean", type=int, default=1000, help="samples a shard")
    parser.add_argument("--ranks", type=int, default=4096)
    arguments = parser.parse_args()
    random.seed(0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "fleet")  # written by another process: that is no memory of a rank
        code = f"import scale, pathlib; scale.write_list(pathlib.Path({str(folder)!r}), {arguments.shards}, {arguments.mean})"
        subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=True)
        for figure in measure(folder, arguments.ranks):
            print(json.dumps(figure))


if __name__ == "__main__":
    main()
