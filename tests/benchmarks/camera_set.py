"""Camera pictures to measure loaders with, in the format of each of them: JPEGs of 1280 x 720 and about 120 KB.

python camera_set.py FOLDER SAMPLES FORMAT...      formats: jpg ours tar energon mds litdata
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

SIZE = (720, 1280)
PER_SHARD = 240


def picture(number: int) -> bytes:
    """Noise whose power falls with frequency, as in photographs, with hard edges on top, as a JPEG."""
    rng, (height, width) = np.random.default_rng(number), SIZE
    image = np.full((height, width, 3), 115, np.float32)
    for cell, amplitude in ((3, 4), (8, 8), (32, 14), (128, 30)):
        noise = rng.normal(0, amplitude, (height // cell + 2, width // cell + 2, 1)).astype(np.float32)
        image += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    for _ in range(40):
        (x, y), (w, h) = rng.integers(0, (width, height)), rng.integers(8, 160, 2)
        image[y : y + h, x : x + w] += rng.normal(0, 45, 3)
    return simplejpeg.encode_jpeg(image.clip(0, 255).astype(np.uint8), 86, "RGB", "420")


def files(folder: Path) -> list[Path]:
    return sorted((folder / "jpg").glob("*.jpg"))


def write_jpg(folder: Path, samples: int) -> None:
    out = folder / "jpg"
    out.mkdir(parents=True, exist_ok=True)
    for number in range(samples):
        path = out / f"{number:06d}.jpg"
        if not path.exists():
            path.with_suffix(".part").write_bytes(picture(number))
            path.with_suffix(".part").rename(path)


class Pictures:
    """The pictures as a dataset of ours, without labels."""

    classes = {"semantic_segmentation": ()}

    def index(self, root: Path, split: str) -> list[Path]:
        return files(root)

    def load(self, ref: Path):
        from drivetrain import Camera, Encoded, Frame

        height, width = SIZE
        camera = Camera(image=Encoded(ref.read_bytes(), "jpg"), width=width, height=height)
        return Frame(ref.stem, "drive", {}, {"cam_front": camera})


def write_ours(folder: Path) -> None:
    from drivetrain import convert

    convert("pictures", Pictures(), folder, folder / "ours", "train", 1, PER_SHARD)


def write_tar(folder: Path) -> None:
    import webdataset

    out = folder / "tar"
    out.mkdir(exist_ok=True)
    with webdataset.ShardWriter(str(out / "shard-%06d.tar"), maxcount=PER_SHARD, verbose=0) as writer:
        for number, path in enumerate(files(folder)):
            writer.write({"__key__": path.stem, "jpg": path.read_bytes(), "json": {"id": number, "camera": "front"}})


def write_energon(folder: Path) -> None:
    """Energon's index of the plain tars."""
    energon = Path(sys.executable).with_name("energon")
    options = ["--non-interactive", "--split-ratio", "1,0,0", "--sample-type", "CrudeWebdataset", "--force-overwrite"]
    subprocess.run([energon, "prepare", folder / "tar", *options], check=True, stdout=subprocess.DEVNULL)


def write_mds(folder: Path) -> None:
    from streaming import MDSWriter

    with MDSWriter(out=str(folder / "mds"), columns={"jpg": "bytes"}, hashes=["xxh64"], size_limit=32 << 20) as writer:
        for path in files(folder):
            writer.write({"jpg": path.read_bytes()})


def _read(path: str) -> dict[str, bytes]:
    return {"jpg": Path(path).read_bytes()}


def write_litdata(folder: Path) -> None:
    import litdata

    paths = [str(path) for path in files(folder)]
    litdata.optimize(fn=_read, inputs=paths, output_dir=str(folder / "litdata"), num_workers=1, chunk_bytes="32MB")


def make(folder: Path, samples: int, formats: list[str]) -> None:
    """Write what is not there yet. A mark is set when a format is whole; one without it is written again."""
    for name in formats:
        mark = folder / f".{name}-{samples}"
        if mark.exists():
            continue
        if name == "jpg":
            write_jpg(folder, samples)
        else:
            if name != "energon":
                shutil.rmtree(folder / name, ignore_errors=True)
            globals()[f"write_{name}"](folder)
        mark.touch()


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
