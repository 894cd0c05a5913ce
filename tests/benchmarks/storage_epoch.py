"""Training batches through the loader, in a process of its own: what is asked for comes as JSON, so does what came of it.

A sample is a small picture and a sweep of 200 KB: its bytes must be read and checked, and cost little to decode.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from drivetrain import Camera, ClassInfo, DataSpec, Encoded, Frame, Lidar, Source
from drivetrain.plugins.loaders.webdataset.config import WebDatasetConfig
from drivetrain.plugins.loaders.webdataset.loader import WebDatasetLoader

MICRO, WINDOW, POINTS, A_SHARD = 16, 8, 12_800, 80


@dataclass
class Sweeps:
    samples: int
    classes: dict[str, list[ClassInfo]] = field(default_factory=dict)

    def index(self, root: Path, split: str) -> range:
        return range(self.samples)

    def load(self, ref: int) -> Frame:
        import simplejpeg

        picture = simplejpeg.encode_jpeg(np.full((48, 64, 3), ref % 256, np.uint8), 90, "RGB", "420")
        points = np.random.default_rng(ref).random((POINTS, 4), np.float32)
        camera = Camera(image=Encoded(picture, "jpg"), width=64, height=48, timestamp=ref)
        lidar = Lidar(points, ("x", "y", "z", "intensity"), timestamp=ref, sensor_to_ego=np.eye(4))
        return Frame(f"frame/{ref:06d}", f"drive{ref // A_SHARD}", {}, {"cam_front": camera}, {"lidar_top": lidar})


def write(samples: int, folder: Path) -> list[str]:
    """A shard set of so many samples; their keys."""
    made = WebDatasetLoader(WebDatasetConfig()).convert(
        Sweeps(samples), Path(), folder, "train", dataset_name="sweeps", workers=2, samples_per_shard=A_SHARD
    )
    assert made is not None
    return made.index.column("key").to_pylist()


@dataclass(frozen=True)
class Asked:
    """``batches`` of one rank, through ``cache`` (a folder), or without one."""

    roots: list[str]
    batches: int
    cache: str | None = None
    threads: int = 4
    rank: int = 0
    world: int = 1


@dataclass
class Came:
    """``seconds`` from asking for the first batch to having the last, ``first`` to having the first; ``cpu`` seconds meanwhile,
    of all threads."""

    seconds: float = 0.0
    first: float = 0.0
    cpu: float = 0.0
    bytes: float = 0.0
    keys: list[str] = field(default_factory=list)
    counters: dict[str, float] = field(default_factory=dict)


def read(asked: Asked) -> Came:
    cache = {"path": asked.cache, "max_gb": 20} if asked.cache else {"max_gb": 0}
    loader = WebDatasetLoader(WebDatasetConfig.model_validate({"window": WINDOW, "storage": {"cache": cache}}))
    spec = DataSpec((Source("sweeps", tuple(asked.roots)),), (), {}, None, {}, seed=1, lidars=("lidar_top",))
    stream = loader.training(spec, batch_global=MICRO * asked.world, batch_micro=MICRO, rank=asked.rank, world=asked.world,
                             threads=asked.threads, pin=False)  # fmt: skip
    print("go", flush=True)
    came, began, used = Came(), time.monotonic(), time.process_time()
    for batch in islice(stream.batches(0), asked.batches):
        came.first = came.first or time.monotonic() - began
        came.keys += batch.keys
        came.bytes += sum(lidar.points.nbytes for lidar in batch.lidars.values())
        batch.release()
    came.cpu = time.process_time() - used
    came.seconds, came.counters = time.monotonic() - began, dict(stream.counters())
    return came


if __name__ == "__main__":
    print(json.dumps(asdict(read(Asked(**json.loads(sys.argv[1]))))), flush=True)
    os._exit(0)  # nothing that a root owes is waited for
