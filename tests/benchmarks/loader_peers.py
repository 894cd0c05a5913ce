"""The loaders that ours is measured against, each as its documentation shows it.

A peer is ``function(folder, batch, workers, decode) -> iterable`` of float32 [B, 3, H, W] in 0..1, from the sets that
`camera_set` wrote. ``decode``: JPEG bytes -> float32 [3, H, W], in 0..1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import torch

Decode = Callable[[bytes], torch.Tensor]


# ---------------------------------------------------------------- decoders, picklable


def torchvision_decoder(data: bytes, size: tuple[int, int]) -> torch.Tensor:
    """What a user of torch writes: decode whole, resize with antialiasing."""
    from torchvision.io import decode_jpeg
    from torchvision.transforms.v2.functional import resize

    picture = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8))
    return resize(picture, list(size), antialias=True).float().div_(255)


def our_decoder(data: bytes, size: tuple[int, int]) -> torch.Tensor:
    """The decoder that our loader uses, at the same reduced scale."""
    import cv2
    import simplejpeg

    cv2.setNumThreads(0)
    height, width = size
    picture = simplejpeg.decode_jpeg(data, "RGB", min_height=height, min_width=width, min_factor=1)
    if picture.shape[:2] != size:
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(picture).permute(2, 0, 1).contiguous().float().div_(255)


DECODERS = {"torchvision": torchvision_decoder, "ours": our_decoder}


def _of_field(sample: dict[str, bytes], decode: Decode) -> torch.Tensor:
    return decode(sample["jpg"])


# ---------------------------------------------------------------- loaders


def _webdataset(folder: Path, batch: int, decode: Decode):
    import webdataset as wds

    tars = sorted(str(path) for path in (folder / "tar").glob("*.tar"))
    shuffled = wds.WebDataset(tars, shardshuffle=len(tars), seed=0).shuffle(200)
    return shuffled.map(partial(_of_field, decode=decode)).batched(batch, partial=False, collation_fn=torch.stack)


def webdataset(folder: Path, batch: int, workers: int, decode: Decode) -> Iterable[torch.Tensor]:
    import webdataset as wds

    return wds.WebLoader(_webdataset(folder, batch, decode), batch_size=None, num_workers=workers)


def torchdata(folder: Path, batch: int, workers: int, decode: Decode) -> Iterable[torch.Tensor]:
    """The loader with a state, around webdataset's reader."""
    from torchdata.stateful_dataloader import StatefulDataLoader

    return StatefulDataLoader(_webdataset(folder, batch, decode), batch_size=None, num_workers=workers)


def mosaicml(folder: Path, batch: int, workers: int, decode: Decode) -> Iterable[torch.Tensor]:
    import streaming
    from torch.utils.data import DataLoader

    class Decoded(streaming.StreamingDataset):
        def __getitem__(self, at):
            return decode(super().__getitem__(at)["jpg"])

    streaming.base.util.clean_stale_shared_memory()
    data = Decoded(local=str(folder / "mds"), batch_size=batch, shuffle=True)
    return DataLoader(data, batch_size=batch, num_workers=workers, drop_last=True)


def litdata(folder: Path, batch: int, workers: int, decode: Decode) -> Iterable[torch.Tensor]:
    import litdata as ld

    field = partial(_of_field, decode=decode)
    data = ld.StreamingDataset(str(folder / "litdata"), shuffle=True, drop_last=True, transform=field)
    return ld.StreamingDataLoader(data, batch_size=batch, num_workers=workers, drop_last=True)


def energon(folder: Path, batch: int, workers: int, decode: Decode) -> Iterable[torch.Tensor]:
    from megatron import energon as en

    fields = [("image", torch.Tensor)]
    picture = dataclasses.make_dataclass("Picture", fields, bases=(en.Sample,), kw_only=True)
    picture.__module__ = __name__
    globals()["Picture"] = picture = en.edataclass(picture)  # workers find it by this name

    @en.stateless
    def cook(sample):
        return picture(**en.basic_sample_keys(sample), image=decode(sample["jpg"]))

    class Encoder(en.DefaultTaskEncoder):
        decoder = None
        cookers = [en.Cooker(cook)]

    config = en.WorkerConfig(rank=0, world_size=1, num_workers=workers)
    data = en.get_train_dataset(str(folder / "tar"), worker_config=config, batch_size=batch, shuffle_buffer_size=200,
                                max_samples_per_sequence=100, task_encoder=Encoder())  # fmt: skip
    return (made.image for made in en.get_loader(data))


def spdl(folder: Path, batch: int, workers: int, decode: Decode) -> Iterable[torch.Tensor]:
    """Threads; they are at least one."""
    import spdl.io
    from spdl.pipeline import PipelineBuilder

    def pictures() -> Iterator[bytes]:
        for tar in sorted((folder / "tar").glob("*.tar")):
            yield from (bytes(data) for name, data in spdl.io.iter_tarfile(tar.read_bytes()) if name.endswith(".jpg"))

    threads = max(1, workers)
    steps = PipelineBuilder().add_source(pictures()).pipe(decode, concurrency=threads).aggregate(batch, drop_last=True)
    pipeline = steps.pipe(torch.stack).add_sink(4).build(num_threads=threads + 1)

    def batches() -> Iterator[torch.Tensor]:
        with pipeline.auto_stop():
            yield from pipeline.get_iterator(timeout=60)

    return batches()


PEERS = {
    "webdataset": (webdataset, "webdataset"), "torchdata": (torchdata, "torchdata"),
    "mosaicml": (mosaicml, "mosaicml-streaming"),
    "litdata": (litdata, "litdata"), "energon": (energon, "megatron-energon"), "spdl": (spdl, "spdl"),
}  # fmt: skip
"""name -> (function, what pip calls it)"""
FORMATS = {
    "webdataset": "tar",
    "torchdata": "tar",
    "mosaicml": "mds",
    "litdata": "litdata",
    "energon": "energon",
    "spdl": "tar",
}
