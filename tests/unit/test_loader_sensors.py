"""A recipe names what it reads: cameras, lidars, clips; only those bytes are read, and the frames of a clip belong together."""

import dataclasses
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from drivetrain import DataError, Frame, Join, Lidar, decode_array
from drivetrain.plugins.loaders.webdataset.reader import ShardFile
from drivetrain.plugins.loaders.webdataset.shards import Damage, Table, Wanted

sys.path.append(str(Path(__file__).parent))
from loader_toy import Rig, Toy, convert, loader, spec

FRONT = Wanted(frozenset({"cam_front"}))


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    return Path(convert(Rig(37), tmp_path_factory.mktemp("rig") / "set").path)


def batches(data, count, threads=2, workers=0, rank=0, world=1):
    stream = loader(window=2, workers=workers).training(
        data, batch_global=8, batch_micro=2, rank=rank, world=world, threads=threads, pin=False
    )
    try:
        out = []
        for batch in islice(stream.batches(0), count):
            out.append(batch.keep())
            batch.release()
        return out, stream.counters()
    finally:
        stream.close()


def rig(shards, **changes):
    return dataclasses.replace(spec(shards, cameras=("cam_front",)), **changes)


def test_only_the_files_that_are_named_are_read(shards):
    tasks = ("object_detection",)
    _, whole = batches(rig(shards, cameras=("cam_front", "cam_back"), lidars=("lidar_top",)), 4)
    _, front = batches(rig(shards, tasks=tasks), 4)
    sample = ShardFile(shards / "shard-000002").parts(1)
    assert set(sample) == {"cam_front.jpg", "cam_front.semantic.png", "cam_back.jpg", "lidar_top.npy", "json"}
    named = ShardFile(shards / "shard-000002").parts(1, FRONT)
    assert named == {suffix: sample[suffix] for suffix in ("cam_front.jpg", "json")}
    assert front["bytes"] < whole["bytes"]


def test_damage_in_a_file_that_is_not_read_does_no_harm(tmp_path):
    folder = Path(convert(Rig(8, size=(480, 640)), tmp_path / "set").path)  # pictures beyond what is read in passing
    table = Table.read(folder / "shard-000001.idx")
    [whole] = table.pieces(2)
    files = {suffix: whole.offset + at for suffix, at, _, _ in whole.files}
    for suffix, harmed in (("cam_back.jpg", False), ("cam_front.jpg", True)):
        data = bytearray((folder / "shard-000001.tar").read_bytes())
        data[files[suffix] + 20] ^= 1
        (folder / "shard-000001.tar").write_bytes(data)
        shard = ShardFile(folder / "shard-000001")
        with pytest.raises(Damage):
            shard.parts(2)
        if harmed:
            with pytest.raises(Damage):
                shard.parts(2, FRONT)
        else:
            assert set(shard.parts(2, FRONT)) == {"cam_front.jpg", "json"}


def test_sweeps_lie_one_after_another(shards):
    [batch], _ = batches(rig(shards, lidars=("lidar_top",)), 1)
    lidar = batch.lidars["lidar_top"]
    numbers = [int(key.rpartition("/")[2]) for key in batch.keys]
    assert lidar.lengths.tolist() == numbers and lidar.points.dtype == torch.float32
    expected = np.concatenate([np.arange(4 * n, dtype=np.float32).reshape(n, 4) for n in numbers])
    assert torch.equal(lidar.points, torch.from_numpy(expected))
    assert torch.equal(lidar.sensor_to_ego, torch.eye(4).expand(2, 4, 4))


def test_a_lidar_that_is_not_there_is_told(shards):
    with pytest.raises(DataError, match="no lidar 'lidar_tap'"):
        batches(rig(shards, lidars=("lidar_tap",)), 1)


@pytest.mark.parametrize("stride", [1, 3])
def test_a_clip_has_the_frames_before_and_stays_in_its_scene(shards, stride):
    """The back camera's grey value is the frame's number; scenes are ten frames long."""
    data = rig(shards, cameras=("cam_back",), clip_frames=3, clip_stride=stride, transforms={}, tasks=("object_detection",))
    found, _ = batches(data, 20)
    for batch in found:
        clip = [*(cameras["cam_back"] for cameras in batch.history), batch.camera]
        for row, key in enumerate(batch.keys):
            number = int(key.rpartition("/")[2])
            expected = [number]
            while len(expected) < 3:
                back = expected[-1] - stride
                expected.append(back if back >= number // 10 * 10 else expected[-1])
            seen = [round(camera.images[row].float().mean().item()) for camera in clip]
            assert seen == expected[::-1]


def test_the_frames_of_a_clip_have_one_view(shards):
    found, _ = batches(rig(shards, clip_frames=2), 20)
    flipped = 0
    for batch in found:
        [past], now = batch.history, batch.cameras
        assert torch.equal(past["cam_front"].to_original, now["cam_front"].to_original)
        assert past["cam_front"].targets["object_detection"]["valid"].any()
        flipped += int((now["cam_front"].to_original[:, 0, 0] < 0).sum())
    assert 0 < flipped < 40


def test_clips_and_sweeps_are_the_same_in_threads_workers_and_ranks(shards):
    data = rig(shards, cameras=("cam_front", "cam_back"), lidars=("lidar_top",), clip_frames=3)
    whole, _ = batches(data, 8, threads=0)
    by_place = {(b.step, b.slot): b for b in whole}
    others = [batches(data, 8, threads=3)[0], batches(data, 8, workers=2)[0]]
    others += [batches(data, 4, rank=rank, world=2)[0] for rank in range(2)]
    for other in others:
        for batch in other:
            one, two = flat(batch), flat(by_place[batch.step, batch.slot])
            assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True)) and len(one) > 20


def test_evaluation_gives_sweeps_from_worker_processes_too(shards):
    data = rig(shards, lidars=("lidar_top",))
    found = []
    for workers in (0, 1):
        stream = loader(workers=workers).evaluation(data, batch_micro=4, rank=0, world=1, threads=1, pin=False)
        frames = [frame for batch in islice(stream, 2) for frame in batch.frames]
        stream.close()
        found.append([(frame.key, decode_array(frame.lidars["lidar_top"].points).tolist()) for frame in frames])
    assert found[0] == found[1] and len(found[0]) == 8


@dataclasses.dataclass
class Sweeps(Toy):
    """A lidar's own set: a sweep every third frame of the rig's scenes, a little late."""

    def load(self, ref: int) -> Frame:
        time = 3 * ref + 0.25
        sweep = Lidar(np.full((1, 3), ref, np.float32), timestamp=int(1e6 * time), sensor_to_ego=np.eye(4))
        return Frame(f"sweep/{ref}", f"drive{3 * ref // 10}", {}, {}, {"lidar_side": sweep})


class Milliseconds(Rig):
    def load(self, ref: int) -> Frame:
        frame = super().load(ref)
        for camera in frame.cameras.values():
            camera.timestamp = int(1e6 * ref)
        return frame


@pytest.mark.parametrize("workers", [0, 1])
def test_sensors_of_another_rate_are_joined_by_the_nearest_time(tmp_path, workers):
    convert(Milliseconds(37), tmp_path / "rig")
    convert(Sweeps(13), tmp_path / "sweeps")
    join = Join("side", str(tmp_path / "sweeps"), 800_000)
    data = rig(tmp_path / "rig", lidars=("lidar_side",))
    data = dataclasses.replace(data, sources=(dataclasses.replace(data.sources[0], joins=(join,)),))
    expected = {i: s for i in range(37) for s in range(13) if abs(3 * s + 0.25 - i) <= 0.8 and 3 * s // 10 == i // 10}
    found, _ = batches(data, 20, workers=workers)
    seen = {}
    for batch in found:
        for key, sweep in zip(batch.keys, batch.lidars["lidar_side"].points[:, 0].tolist(), strict=True):
            seen[int(key.rpartition("/")[2])] = int(sweep)
    assert seen == expected and 12 <= len(expected) < 37
    none = dataclasses.replace(data.sources[0], joins=(dataclasses.replace(join, tolerance=0),))
    with pytest.raises(DataError, match="no frame of source 'toy0' has a partner"):
        batches(dataclasses.replace(data, sources=(none,)), 1)


def flat(batch) -> list[torch.Tensor]:
    tensors: list[torch.Tensor] = []
    batch.map(lambda t: tensors.append(t) or t)
    return tensors
