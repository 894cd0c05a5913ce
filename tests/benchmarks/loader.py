"""How fast batches arrive, held against other loaders: `make bench-loader`.

Every loader reads the same pictures, shuffles, decodes, resizes 1280 x 720 to 640 x 360 and gives float32 [16, 3, 360, 640]
in 0..1; each runs in a process of its own, in turn, round after round; a figure is a ratio of medians. What the rates are
taken from: the second batch to the last. Peers and their data go to build/bench-loader; a peer that does not install or
run is named and passed over.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BATCH, SIZE = 16, (360, 640)
PLAIN = ((0.0,) * 3, (1.0,) * 3)  # mean and deviation that leave 0..1 as it is


# ---------------------------------------------------------------- ours


def build(shard_dir: str, batch: int, workers: int, size: tuple[int, int], keep: bool = False) -> Iterable[Any]:
    """Our loader as a model is fed on a CPU: float32 [batch, 3, height, width] in 0..1, channels-last in memory.

    ``shard_dir`` is a shard set; where it is none, the one named ``ours`` beside it. ``workers`` is the number of threads
    beside the consumer's own. A batch is valid until the next one is asked for, or with ``keep`` for ever.
    """
    import torch

    from drivetrain import DataSpec, Source
    from drivetrain.plugins.loaders.webdataset.config import WebDatasetConfig
    from drivetrain.plugins.loaders.webdataset.loader import WebDatasetLoader
    from drivetrain.plugins.transforms.config import ResizeConfig
    from drivetrain.plugins.transforms.geometry import Resize

    folder = Path(shard_dir)
    folder = folder if (folder / "dataset.json").exists() else folder.with_name("ours")
    spec = DataSpec((Source("pictures", str(folder)),), (), {}, None, {"resize": Resize(ResizeConfig(size=size))}, seed=1)
    stream = WebDatasetLoader(WebDatasetConfig()).training(
        spec, batch_global=batch, batch_micro=batch, rank=0, world=1, threads=workers, pin=False
    )
    out = torch.zeros((batch, 3, *size)).contiguous(memory_format=torch.channels_last)  # touched: its pages are there
    return _kept(stream) if keep else _lent(stream, out)


def _lent(stream: Any, out: Any) -> Iterator[Any]:
    from drivetrain import normalise_images

    for batch in stream.batches(0):
        images = normalise_images(batch.camera.images, *PLAIN, out=out)
        batch.release()
        yield images


def _kept(stream: Any) -> Iterator[Any]:
    from drivetrain import normalise_images

    for batch in stream.batches(0):
        kept = batch.keep()
        batch.release()
        yield normalise_images(kept.camera.images, *PLAIN)


# ---------------------------------------------------------------- the ceiling


def decode_only(folder: Path, batch: int, workers: int, size: tuple[int, int]) -> Iterator[Any]:
    """As many threads that only decode and convert pictures in memory, in no order: what no loader can beat by much."""
    import numpy as np
    import simplejpeg
    import torch
    from camera_set import files

    from drivetrain import normalise_images

    pictures = [path.read_bytes() for path in files(folder)[:320]]
    outs = [torch.zeros((batch, 3, *size)).contiguous(memory_format=torch.channels_last) for _ in range(4)]
    raw = np.zeros((len(outs), batch, *size, 3), np.uint8)

    def one(task: tuple[int, tuple[int, int]]) -> None:
        picture, (slot, row) = task
        into = raw[slot, row]
        simplejpeg.decode_jpeg(pictures[picture], "RGB", min_height=size[0], min_width=size[1], buffer=into)
        normalise_images(torch.from_numpy(into)[None], *PLAIN, out=outs[slot][row : row + 1])

    tasks = zip(cycle(range(len(pictures))), cycle((slot, row) for slot in range(len(outs)) for row in range(batch)))
    if not workers:
        for slot in cycle(range(len(outs))):
            for task in islice(tasks, batch):
                one(task)
            yield outs[slot]
    with ThreadPoolExecutor(workers) as pool:
        ahead = [[pool.submit(one, task) for task in islice(tasks, batch)] for _ in range(len(outs) - 1)]
        for slot in cycle(range(len(outs))):
            ahead.append([pool.submit(one, task) for task in islice(tasks, batch)])
            for future in ahead.pop(0):
                future.result()
            yield outs[slot]


# ---------------------------------------------------------------- one measurement


def run_one(name: str, folder: Path, workers: int, samples: int) -> dict[str, float]:
    """``name``: ours, ours_keep, decode_only, or PEER+DECODER."""
    import torch

    torch.set_num_threads(1)
    if name == "decode_only":
        batches: Iterable[Any] = decode_only(folder, BATCH, workers, SIZE)
    elif name.startswith("ours"):
        batches = build(str(folder / "ours"), BATCH, workers, SIZE, keep=name == "ours_keep")
    else:
        from loader_peers import DECODERS, PEERS

        peer, decoder = name.split("+")
        batches = PEERS[peer][0](folder, BATCH, workers, partial(DECODERS[decoder], size=SIZE))
    return timed(batches, samples // BATCH)


def timed(batches: Iterable[Any], count: int) -> dict[str, float]:
    """Samples a second after the first batch, seconds to the first batch, and samples a second in all."""
    import torch

    began = time.perf_counter()
    for got, batch in enumerate(islice(chain.from_iterable(iter(batches) for _ in range(count)), count)):
        if got == 0:
            first = time.perf_counter()
            assert batch.shape == (BATCH, 3, *SIZE) and batch.dtype == torch.float32 and 0.2 < batch.mean() < 0.8
        float(batch[0, 0, 0, 0])
    end = time.perf_counter()
    assert got == count - 1, f"only {got + 1} batches came"
    return {"rate": (count - 1) * BATCH / (end - first), "first": first - began, "whole": count * BATCH / (end - began)}


# ---------------------------------------------------------------- the run


def prepare(build_dir: Path, samples: int) -> tuple[str, list[str]]:
    """The interpreter with the peers, and the names of those that are there."""
    from loader_peers import FORMATS, PEERS

    python = build_dir / "venv" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", build_dir / "venv"], check=True)
    paths = [path for path in sys.path if path.endswith("site-packages")]
    [packages] = (build_dir / "venv" / "lib").glob("python*/site-packages")
    (packages / "borrowed.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in paths))
    there = []
    _tool(python, HERE / "camera_set.py", build_dir, samples, "jpg", "ours")
    for name, (_, package) in PEERS.items():
        try:
            _tool(python, "-m", "pip", "install", "--quiet", package)
            _tool(python, HERE / "camera_set.py", build_dir, samples, *dict.fromkeys(["tar", FORMATS[name]]))
            there.append(name)
        except subprocess.CalledProcessError as error:
            say(peer=name, passed_over=_last_line(error.stderr))
    return str(python), there


def measure(python: str, names: list[str], build_dir: Path, workers: list[int], samples: int, rounds: int):
    """(name, workers) -> its measurements; whoever fails is told once and left out."""
    found: dict[tuple[str, int], list[dict[str, float]]] = defaultdict(list)
    failed = set()
    for _ in range(rounds):
        for key in [(name, count) for count in workers for name in names]:
            if key in failed:
                continue
            try:
                done = _tool(python, __file__, "--one", key[0], "--workers", key[1], "--samples", samples, "--build", build_dir)
                found[key].append(json.loads(done.splitlines()[-1]))
            except (subprocess.SubprocessError, ValueError) as error:
                failed.add(key)
                say(peer=key[0], workers=key[1], passed_over=_last_line(getattr(error, "stderr", None) or repr(error)))
    return found


def figures(found: dict[tuple[str, int], list[dict[str, float]]], workers: list[int]) -> None:
    """The figures, a line each, after the medians that they are made of."""
    medians = {key: {name: statistics.median(run[name] for run in runs) for name in runs[0]} for key, runs in found.items()}
    for (name, count), values in sorted(medians.items(), key=lambda item: (item[0][1], -item[1]["rate"])):
        whole, first = round(values["whole"], 1), round(values["first"], 3)
        say(loader=name, workers=count, samples_per_second=round(values["rate"], 1), end_to_end=whole, first_batch_s=first)
    for count in workers:
        at = {name: values for (name, c), values in medians.items() if c == count}
        theirs = {name: values for name, values in at.items() if "+" in name}
        for figure, decoder in (("loader_vs_fastest_peer", "torchvision"), ("loader_vs_fastest_peer_same_decoder", "ours")):
            peers = {name: values["rate"] for name, values in theirs.items() if name.endswith(f"+{decoder}")}
            if peers:
                best = max(peers, key=lambda name: peers[name])
                _figure(figure, at["ours"]["rate"] / peers[best], count, peer=best)
        _figure("loader_vs_decode_only", at["ours"]["rate"] / at["decode_only"]["rate"], count)
        _figure("loader_keep", at["ours_keep"]["rate"] / at["ours"]["rate"], count)
        if theirs:
            soonest = min(theirs, key=lambda name: theirs[name]["first"])
            _figure("first_batch_vs_fastest_peer", at["ours"]["first"] / theirs[soonest]["first"], count, peer=soonest)


def _figure(name: str, value: float, workers: int, **more: Any) -> None:
    say(figure=name, value=round(value, 3), unit="ratio", workers=workers, **more)


def say(**values: Any) -> None:
    print(json.dumps(values), flush=True)


def _tool(*words: Any) -> str:
    settings = {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [*map(str, words)], check=True, capture_output=True, text=True, timeout=900, env={**os.environ, **settings}
    )
    return done.stdout


def _last_line(text: str | None) -> str:
    return ((text or "").strip().splitlines() or ["no message"])[-1][-300:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=Path("build/bench-loader"), help="where peers and data go")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--samples", type=int, default=960)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round of 320 samples: whether all runs, not how fast")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.quick:
        wanted.samples, wanted.rounds = 320, 1
    folder = wanted.build.resolve()
    if wanted.one:
        print(json.dumps(run_one(wanted.one, folder, wanted.workers[0], wanted.samples)), flush=True)
        os._exit(0)  # some peers' worker processes outlast a plain return
    python, peers = prepare(folder, samples=1200)
    names = [
        "ours",
        "ours_keep",
        "decode_only",
        *(f"{peer}+{decoder}" for decoder in ("torchvision", "ours") for peer in peers),
    ]
    figures(measure(python, names, folder, wanted.workers, wanted.samples, wanted.rounds), wanted.workers)


if __name__ == "__main__":
    main()
