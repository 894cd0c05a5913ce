"""How fast pictures become a shard set, held against the disk: `make bench-sharding`.

`drivetrain data shard` copies JPEGs that a manifest lists; the peer, `cat` into one file, moves the same bytes. Both are
timed from the start of their process until all is on the disk: the conversion syncs what it writes, `cat` is followed by
`sync FILE`. They run in turn, round after round, on the pictures in build/bench-sharding; a figure is the median of the
rounds' ratios. Cold: the pictures are dropped from the page cache before each run; warm: they have just been read.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from camera_set import picture

DISTINCT = 400  # pictures; each is stored several times, in files of their own


def make_source(folder: Path, samples: int) -> list[Path]:
    """The pictures, and a manifest of them."""
    pictures = folder / "images"
    pictures.mkdir(parents=True, exist_ok=True)
    paths = [pictures / f"{number:06d}.jpg" for number in range(samples)]
    for number, path in enumerate(paths):
        if not path.exists():
            data = picture(number) if number < DISTINCT else paths[number % DISTINCT].read_bytes()
            path.with_suffix(".part").write_bytes(data)
            path.with_suffix(".part").rename(path)
    lines = [json.dumps({"classes": {"object_detection": ["car"]}})]
    lines += [json.dumps({"key": path.stem, "scene": "drive", "image": f"images/{path.name}"}) for path in paths]
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n")
    return paths


def prepare(paths: list[Path], cold: bool) -> None:
    """A quiet disk, and the pictures in the page cache or not."""
    os.sync()
    for path in paths:
        with path.open("rb") as file:
            if cold:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            else:
                file.read()


def copied(paths: list[Path], out: Path) -> float:
    """Seconds of cat and sync."""
    began = time.perf_counter()
    with out.open("wb") as file:
        subprocess.run(["cat", *paths], stdout=file, check=True)
    subprocess.run(["sync", out], check=True)
    seconds = time.perf_counter() - began
    out.unlink()
    return seconds


def sharded(source: Path, out: Path, workers: int) -> float:
    """Seconds of the command."""
    program = Path(sys.executable).with_name("drivetrain")
    command = [program, "data", "shard", "manifest", source, out, "--split", "train", "--workers", str(workers)]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds = time.perf_counter() - began
    shutil.rmtree(out)
    return seconds


def compare(folder: Path, paths: list[Path], workers: int, rounds: int, cold: bool) -> None:
    """Prints the rates of both and their ratio."""
    size, state = sum(path.stat().st_size for path in paths), "cold" if cold else "warm"
    rates: list[tuple[float, float]] = []
    for _ in range(rounds):
        prepare(paths, cold)
        theirs = copied(paths, folder / "one")
        prepare(paths, cold)
        rates.append((size / sharded(folder, folder / "set", workers) / 1e6, size / theirs / 1e6))
    ours, theirs = (statistics.median(values) for values in zip(*rates))
    about = {"source": state, "workers": workers, "samples": len(paths), "bytes": size, "rounds": rounds}
    print(json.dumps({"figure": "sharding", "value": round(ours, 1), "unit": "MB/s", **about}))
    print(json.dumps({"figure": "cat", "value": round(theirs, 1), "unit": "MB/s", **about}))
    ratio = statistics.median(a / b for a, b in rates)
    name = "sharding_vs_disk" if cold else "sharding_vs_disk_warm"
    print(json.dumps({"figure": name, "value": round(ratio, 2), "unit": "ratio", "peer": "cat", **about}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("build/bench-sharding"))
    asked = parser.parse_args()
    paths = make_source(asked.folder, asked.samples)
    for cold in (True, False):
        compare(asked.folder, paths, asked.workers, asked.rounds, cold)


if __name__ == "__main__":
    main()
