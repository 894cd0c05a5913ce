"""The loader never hangs: each fault gives an answer within a stated time, and leaves no process and no memory behind."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from faults import loader_transforms as bad

from drivetrain import PluginError, Transform, UserError
from drivetrain.plugins.loaders.webdataset import collate, pipeline

sys.path.append(str(Path(__file__).parents[1] / "unit"))
from loader_toy import Resize, Toy, convert, loader, spec

SOON = 5.0  # seconds; what is promised is about one, and machines are slow at times


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    return Path(convert(Toy(37), tmp_path_factory.mktemp("loader") / "set").path)


def opened(shards: Path, *, threads: int = 2, workers: int = 0, micro: int = 2, **transforms: Transform):
    data = spec(shards, transforms=transforms or None)
    made = loader(window=2, workers=workers)
    return made.training(data, batch_global=8, batch_micro=micro, rank=0, world=1, threads=threads, pin=False)


def evaluated(shards: Path, workers: int):
    stream = loader(workers=workers).evaluation(spec(shards), batch_micro=4, rank=0, world=1, threads=2, pin=False)
    try:
        return [batch.keep() for batch in stream]
    finally:
        stream.close()


def taken(stream, count: int):
    batches = []
    try:
        for batch in islice(stream.batches(0), count):
            batches.append(batch.keep())
            batch.release()
        return batches
    finally:
        stream.close()


def tensors(batches) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    for batch in batches:
        batch.map(lambda t: found.append(t) or t)
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(condition, seconds: float = SOON) -> bool:
    deadline = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(met)


def is_ahead(stream) -> bool:
    """Once all that a stream makes ahead is made."""
    return until(lambda: all(batch._over.is_set() for batch in stream._pipeline._live))


# ---------------------------------------------------------------- worker processes


@pytest.mark.parametrize("workers", [1, 3])
def test_worker_processes_change_no_bit(shards, workers):
    for transforms in ({}, {"resize": Resize(24, 32), "vary": bad.Vary()}):
        one, two = (taken(opened(shards, workers=n, **transforms), 24) for n in (0, workers))
        assert [b.keys for b in one] == [b.keys for b in two]
        assert all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(two), strict=True))


def test_worker_processes_evaluate_the_same(shards):
    one, two = evaluated(shards, 0), evaluated(shards, 2)
    assert all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(two), strict=True))
    assert [f.cameras["cam_front"].boxes.xyxy.tolist() for b in one for f in b.frames] == [
        f.cameras["cam_front"].boxes.xyxy.tolist() for b in two for f in b.frames
    ]


def test_a_killed_worker_is_told_with_what_it_worked_on(shards):
    began = time.monotonic()
    with pytest.raises(UserError, match=r"ended by SIGKILL while it made sample \d of .*shard-00000\d.tar"):
        taken(opened(shards, workers=2, killed=bad.Killed(3)), 40)
    assert time.monotonic() - began < 2 * SOON, "two starts of a process included"


def test_a_worker_killed_from_outside_is_told_at_once(shards):
    stream = opened(shards, workers=1)
    batches = stream.batches(0)
    next(batches).release()
    os.kill(stream._maker._processes[0]._child.pid, signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(UserError, match="SIGKILL"):
        for batch in batches:
            batch.release()
    assert time.monotonic() - began < SOON
    stream.close()


def test_a_transform_that_cannot_be_sent_is_refused_before_anything_starts(shards):
    class Local(Transform):
        pass

    for transform in (bad.Closure(), Local()):
        with pytest.raises(PluginError, match=r"transform 'mine' cannot be sent to a worker process[\s\S]*loader.workers=0"):
            opened(shards, workers=2, mine=transform)


@pytest.mark.parametrize("workers", [0, 1])
def test_closing_ends_workers_and_waiting_consumers(shards, tmp_path, workers):
    """A worker that never answers is killed; a thread cannot be, and is left behind after some patience."""
    stream = opened(shards, threads=1, workers=workers, waits=bad.Waits(tmp_path / "began"))
    errors = []

    def consume():
        try:
            next(stream.batches(0))
        except RuntimeError as error:
            errors.append(error)

    consumer = threading.Thread(target=consume, daemon=True)
    consumer.start()
    assert until(lambda: list(tmp_path.glob("began-*")), 4 * SOON)
    closing = time.monotonic()
    stream.close()
    consumer.join(SOON)
    assert not consumer.is_alive() and "the stream was closed" in str(errors[0])
    assert time.monotonic() - closing < (SOON if workers else pipeline._PATIENCE + SOON)
    if workers:
        pid = int(next(tmp_path.glob("began-*")).name.rpartition("-")[2])
        assert until(lambda: not alive(pid))


SCRIPT = """
import sys
sys.path[:0] = [{tests!r}, {unit!r}]
from pathlib import Path
from faults.test_loader_hangs import opened
from faults import loader_transforms as bad
batches = opened(Path({shards!r}), {how}).batches(0)
next(batches)
"""


def script(shards: Path, how: str) -> list[str]:
    """The command of a program that takes one batch of a stream, and does not close it."""
    tests = Path(__file__).parents[1]
    return [sys.executable, "-c", SCRIPT.format(tests=str(tests), unit=str(tests / "unit"), shards=str(shards), how=how)]


def test_workers_die_with_a_killed_parent_and_leave_no_memory(shards, tmp_path):
    """Also those that are at work, and do not read their connection."""
    before = set(os.listdir("/dev/shm"))
    parent = subprocess.Popen(script(shards, f"workers=2, waits=bad.Waits(Path({str(tmp_path / 'began')!r}))"))
    try:
        assert until(lambda: len(list(tmp_path.glob("began-*"))) == 2, 12 * SOON)
    finally:
        parent.kill()
        parent.wait()
    pids = [int(path.name.rpartition("-")[2]) for path in tmp_path.glob("began-*")]
    assert parent.pid not in pids and until(lambda: not any(map(alive, pids)))
    assert set(os.listdir("/dev/shm")) <= before


# ---------------------------------------------------------------- threads


@pytest.mark.parametrize(("threads", "workers"), [(0, 0), (2, 0), (0, 1)])
def test_what_would_end_a_thread_reaches_the_consumer(shards, threads, workers):
    with pytest.raises(SystemExit, match="enough"):
        taken(opened(shards, threads=threads, workers=workers, leaves=bad.Leaves()), 1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_is_gone_is_noticed(shards, monkeypatch):
    def gone(self, row):
        raise SystemExit

    monkeypatch.setattr(pipeline._Assembly, "work", gone)
    began = time.monotonic()
    with pytest.raises(RuntimeError, match=r"a thread of the loader is gone; it worked on Request\(position=\d"):
        taken(opened(shards), 1)
    assert time.monotonic() - began < SOON


def test_a_program_may_end_with_a_stream_that_is_open(shards):
    """Threads that come out of OpenCV after the interpreter's end abort the process."""
    ended = subprocess.run(script(shards, "threads=4, blurs=bad.Blurs()"), capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_what_is_asked_of_a_stream_as_it_closes_is_told(shards):
    """By another thread, after it was seen to be open: its threads are gone."""
    stream, errors = loader().evaluation(spec(shards), batch_micro=37, rank=0, world=1, threads=2, pin=False), []
    next(iter(stream)).release()

    class Closing(set):
        def add(self, assembly):
            stream.close()
            super().add(assembly)

    stream._pipeline._live = Closing()

    def consume():
        try:
            next(iter(stream))
        except RuntimeError as error:
            errors.append(str(error))

    consumer = threading.Thread(target=consume, daemon=True)
    consumer.start()
    consumer.join(SOON)
    assert errors == ["the stream was closed"]


def test_a_thread_may_find_a_forgotten_stream_as_garbage(shards, monkeypatch):
    """Its own one too, in the middle of its work: the collector then closes the run, as the garbage that it is."""
    held, forgotten, collected = SimpleNamespace(stream=opened(shards)), threading.Event(), threading.Event()

    class Collecting(collate.Canvas):
        def __init__(self, *args):
            if threading.current_thread() in threads:
                forgotten.wait(SOON)
                gc.collect()
                collected.set()
            super().__init__(*args)

    held.batches, held.itself = held.stream.batches(0), held
    next(held.batches).release()
    threads = list(held.stream._pipeline._threads)
    assert is_ahead(held.stream)
    monkeypatch.setattr(pipeline, "Canvas", Collecting)
    next(held.batches).release()
    del held
    forgotten.set()
    assert collected.wait(SOON)
    assert until(lambda: gc.collect() >= 0 and not any(thread.is_alive() for thread in threads))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_closed_stream_keeps_neither_batches_nor_files(shards, workers):
    """Though it is garbage of the kind that may lie about for long."""
    gc.collect()
    gc.disable()
    try:
        stream = opened(shards, workers=workers)
        batches = stream.batches(0)
        places = []
        for _ in range(4):
            batch = next(batches)
            places.append(weakref.ref(batch.camera.images))
            batch.release()
        del batch
        stream.close()
        batches.close()
        assert not any(place() is not None for place in places)
        assert not [name for name in map(os.path.realpath, Path("/proc/self/fd").iterdir()) if name.startswith(str(shards))]
    finally:
        gc.enable()


def test_a_forgotten_stream_ends_its_threads(shards):
    stream = opened(shards)
    batches = stream.batches(0)
    next(batches)
    threads = list(stream._pipeline._threads)
    del stream, batches
    assert until(lambda: gc.collect() >= 0 and not any(thread.is_alive() for thread in threads)), "once their queue is empty"


# ---------------------------------------------------------------- a consumer that keeps what it is lent


def test_a_consumer_that_holds_every_batch_is_told(shards):
    stream = opened(shards)
    held = []
    with pytest.raises(UserError, match=r"\d+ batches are held and were not released[\s\S]*batch.keep"):
        for batch in stream.batches(0):
            held.append(batch)
    assert len(held) == collate._HELD
    for batch in held:
        batch.release()
    next(stream.batches(0)).release()
    stream.close()


def test_what_many_threads_make_ahead_is_not_held(shards):
    """By default a rank has as many as there are cores to it."""
    assert len(taken(opened(shards, threads=2 * collate._HELD, micro=1), 3)) == 3


def test_batches_that_are_forgotten_are_not_held(shards):
    stream = opened(shards)
    last = None
    for batch in islice(stream.batches(0), 2 * collate._HELD):
        last = batch.camera.images  # the tensor outlives its batch: nobody may write into it
    before = last.clone()
    for batch in islice(stream.batches(0), 20):
        batch.release()
    assert torch.equal(last, before)
    stream.close()
