"""The node's cache and the read-ahead: shared, bounded, healed, left whole by whoever is killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from itertools import islice
from pathlib import Path
from threading import Event

import pytest

from drivetrain import DataError
from drivetrain.plugins.loaders.webdataset.reader import ShardSet
from drivetrain.plugins.loaders.webdataset.storage.ahead import Chunk, ReadAhead
from drivetrain.plugins.loaders.webdataset.storage.cache import Cache
from drivetrain.plugins.loaders.webdataset.storage.config import CacheConfig, StorageConfig

sys.path.append(str(Path(__file__).parent))
from loader_serving import Handler, serving
from loader_toy import Toy, convert, loader, spec
from test_loader_storage import keys

KB = 1 / 1024  # MB


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache") / "set"
    return folder, convert(Toy(24), folder)


def storage(folder, **more):
    cache = {"path": str(folder), "chunk_mb": 4 * KB, **more}
    return StorageConfig(timeout_s=5, retry_s=20, hedge=False, cache=CacheConfig(**cache))


def bring_all(shards):
    """Holds on every chunk of a set."""
    chunks = {chunk.name: chunk for i in range(len(shards)) for chunk in shards.chunks(*shards.locate(i))}
    return [chunk.bring(Event()) for chunk in chunks.values()]


def numbers(count):
    return lambda offset, length: bytes((offset + i) % 251 for i in range(length))


def chunk_bytes(folder):
    return sum(path.stat().st_size for path in folder.glob("chunk-*"))


def test_what_was_brought_is_read_without_the_root(made, tmp_path):
    folder, whole = made
    with serving(folder) as address:
        shards = ShardSet(address, storage(tmp_path))
        assert keys(shards) == keys(whole) and shards.cache.counters["hits"] == 0
        for hold in bring_all(shards):
            hold.close()
        asked = shards.roots.roots[0].counters["requests"]
        assert keys(shards) == keys(whole)
        assert shards.roots.roots[0].counters["requests"] == asked
        assert shards.cache.counters["hits"] == len(whole)


FILL = """
import json, sys
sys.path.append(sys.argv[3])
from test_loader_cache import ShardSet, bring_all, keys, storage
shards = ShardSet(sys.argv[1], storage(sys.argv[2]))
holds = bring_all(shards)
print(json.dumps(keys(shards)))
"""


def filling(address, cache, **more):
    arguments = [sys.executable, "-c", FILL, address, str(cache), str(Path(__file__).parent)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, **more)


def test_two_processes_share_it_and_each_byte_crosses_once(made, tmp_path, monkeypatch):
    folder, whole = made
    asked = Counter()
    answer = Handler.do_GET

    def counted(self):
        if self.path.endswith(".tar"):
            asked[self.path, self.headers["Range"]] += 1
            time.sleep(0.01)  # they meet
        answer(self)

    monkeypatch.setattr(Handler, "do_GET", counted)
    with serving(folder) as address:
        processes = [filling(address, tmp_path) for _ in range(2)]
        outputs = [process.communicate(timeout=50)[0] for process in processes]
    assert [json.loads(output) for output in outputs] == [keys(whole)] * 2
    assert set(asked.values()) == {1}
    ranges = [tuple(map(int, wanted.removeprefix("bytes=").split("-"))) for _, wanted in asked]
    assert sum(end + 1 - start for start, end in ranges) == chunk_bytes(tmp_path)


def test_a_killed_process_leaves_nothing_that_stays(made, tmp_path):
    folder, whole = made
    cache = tmp_path / "cache"
    with serving(folder, "stall") as address:
        process = filling(address, cache)
        deadline = time.monotonic() + 30
        while not list(cache.glob("*.part")):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert list(cache.glob("*.part")), "it was killed in the middle"
    with serving(folder) as address:
        shards = ShardSet(address, storage(cache))
        assert not list(cache.glob("*.part"))
        assert None not in bring_all(shards)
        assert keys(shards) == keys(whole)


def test_it_stays_in_its_bound_the_oldest_use_goes_first_and_what_is_held_stays(tmp_path):
    cache = Cache(CacheConfig(path=str(tmp_path), max_gb=4000 / 1e9, chunk_mb=1000 / 2**20))
    held = cache.bring(7, 0, 1000, numbers(1000), Event())
    for number in range(1, 8):
        cache.bring(7, number, 1000, numbers(1000), Event()).close()
        os.utime(cache._path(7, number), (number, number))  # used long ago, one after the other
        if number == 2:
            assert cache.read(7, 1000, 10) is not None, "used again"
        assert chunk_bytes(tmp_path) <= 4000
    there = [number for number in range(8) if cache.read(7, number * 1000, 10) is not None]
    assert there == [0, 1, 6, 7]
    holds = [cache.bring(7, number, 1000, numbers(1000), Event()) for number in there]
    assert cache.bring(8, 0, 1000, numbers(1000), Event()) is None, "all of it is held"
    for hold in [held, *holds]:
        hold.close()
    assert cache.bring(8, 0, 1000, numbers(1000), Event())


@pytest.mark.parametrize("length", [0, 10, 1000, 2500])
def test_a_range_over_several_chunks(tmp_path, length):
    cache = Cache(CacheConfig(path=str(tmp_path), chunk_mb=1000 / 2**20))
    for number in range(5):
        cache.bring(3, number, 1000, numbers(1000), Event()).close()
    assert cache.read(3, 700, length) == numbers(0)(700, length)


def test_an_error_while_fetching_leaves_no_part(tmp_path):
    cache = Cache(CacheConfig(path=str(tmp_path)))

    def fail(offset, length):
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        cache.bring(1, 0, 1000, fail, Event())
    assert not list(tmp_path.glob("chunk-*"))
    assert cache.bring(1, 0, 1000, numbers(0), Event())


def test_a_damaged_or_short_chunk_heals(made, tmp_path):
    folder, whole = made
    with serving(folder) as address:
        shards = ShardSet(address, storage(tmp_path))
        for hold in bring_all(shards):
            hold.close()
        first, second, *_ = sorted(tmp_path.glob("chunk-*"))
        data = bytearray(first.read_bytes())
        data[600] ^= 1
        first.write_bytes(data)
        second.write_bytes(second.read_bytes()[:100])
        assert keys(shards) == keys(whole)
        assert shards.cache.counters["dropped"] and not first.exists()
        assert None not in bring_all(shards)
        before = shards.cache.counters["misses"]
        assert keys(shards) == keys(whole) and shards.cache.counters["misses"] == before


def test_a_folder_that_cannot_be_made_is_told(made, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cache"):
        ShardSet(made[0], storage(tmp_path / "file" / "cache"))


# ---------------------------------------------------------------- read-ahead


def cached_training(addresses, cache, made_spec=spec, **more):
    config = loader(storage=storage(cache, **more).model_dump())
    sources = made_spec("placeholder").sources
    where = addresses if isinstance(addresses, str) else tuple(addresses)
    asked = made_spec("placeholder")
    asked = type(asked)(**{**vars(asked), "sources": (type(sources[0])("toy", where),)})
    return config.training(asked, batch_global=4, batch_micro=2, rank=0, world=1, threads=2, pin=False)


def taken(stream, steps, pause=0.0):
    """The keys of all batches of so many steps."""
    out = []
    for batch in islice(stream.batches(0), 2 * steps):
        out.append(list(batch.keys))
        batch.release()
        time.sleep(pause)
    return out


def expected(stream, steps):
    return [slot for step in range(steps) for slot in stream.keys(step)]


def test_an_epoch_is_served_from_the_cache(made, tmp_path):
    """What comes before its chunk is there is read directly; once all are there, no root is asked any more."""
    folder, _ = made
    with serving(folder) as address:
        opened = ShardSet(address, storage(tmp_path))
        needed = {chunk.name for i in range(len(opened)) for chunk in opened.chunks(*opened.locate(i))}
        stream = cached_training(address, tmp_path)
        try:
            batches, found, settled, asked = stream.batches(0), [], 0, 0.0
            deadline = time.monotonic() + 30
            while settled < 24 and time.monotonic() < deadline:
                batch = next(batches)
                found.append(list(batch.keys))
                batch.release()
                counters = stream.counters()
                if len([path for path in tmp_path.glob("chunk-*") if path.suffix != ".part"]) < len(needed):
                    time.sleep(0.02)
                    continue
                settled += 1
                if settled == 12:  # what was begun before is over
                    asked = counters[f"root/{address}/requests"]
            assert settled == 24 and stream.counters()[f"root/{address}/requests"] == asked
            assert found == expected(stream, len(found) // 2 + 1)[: len(found)]
            assert stream.counters()["cache/bytes_ahead"] == chunk_bytes(tmp_path)
        finally:
            stream.close()


def test_a_root_that_is_cut_in_the_middle_costs_no_sample(made, tmp_path):
    folder, _ = made
    copy = shutil.copytree(folder, tmp_path / "copy")
    with serving(folder, "slow") as stays:  # so that the other one is preferred, and missed
        with serving(copy) as goes:
            stream = cached_training([goes, stays], tmp_path / "cache", max_gb=0)
            assert stream.counters().get("cache/hits") is None
            batches, found = stream.batches(0), []
            for _ in range(4):
                batch = next(batches)
                found.append(list(batch.keys))
                batch.release()
        for _ in range(20):
            batch = next(batches)
            found.append(list(batch.keys))
            batch.release()
        try:
            assert found == expected(stream, 12)
            assert stream.counters()["replaced"] == 0
            assert stream.counters()[f"root/{goes}/failures"] > 0, "the cut was felt"
        finally:
            stream.close()


def test_with_too_little_room_for_the_window_nothing_is_fetched_ahead(made, tmp_path):
    folder, _ = made
    with serving(folder) as address:
        stream = cached_training(address, tmp_path, max_gb=8e-6)
        try:
            assert taken(stream, 6) == expected(stream, 6)
            assert stream.counters()["cache/bytes_ahead"] == 0
        finally:
            stream.close()


def test_closing_does_not_wait_for_a_root_that_stalls(made, tmp_path):
    folder, _ = made
    with serving(folder, "stall") as address:
        stream = cached_training(address, tmp_path)
        told = []

        def consume():
            with pytest.raises(RuntimeError, match="closed"):
                next(stream.batches(0))
            told.append(True)

        thread = threading.Thread(target=consume, daemon=True)
        thread.start()
        time.sleep(0.5)
        began = time.monotonic()
        stream.close()
        thread.join(5)
        assert time.monotonic() - began < 10 and told


class _Counted:
    """A hold that knows whether it is held."""

    def __init__(self):
        self.closed = False

    def close(self):
        self.closed = True


def test_read_ahead_holds_no_more_than_its_limit_until_plans_are_used():
    holds = {}

    def chunks(plan):
        def bring(stop):
            holds[plan] = _Counted()
            return holds[plan]

        return [Chunk((plan,), bring)]

    ahead = ReadAhead(range(20), chunks, limit=3, threads=2)
    try:
        for used in range(20):
            deadline = time.monotonic() + 5
            while len(holds) < min(20, used + 3) and time.monotonic() < deadline:
                time.sleep(0.001)
            assert sorted(holds) == list(range(min(20, used + 3)))
            ahead.used(used)
            assert holds[used].closed
    finally:
        ahead.close()


def test_an_error_of_read_ahead_is_not_fatal():
    brought = []

    def chunks(plan):
        def bring(stop):
            if plan == 0:
                raise OSError("gone")
            brought.append(plan)

        return [Chunk((plan,), bring)]

    ahead = ReadAhead(range(4), chunks, limit=9, threads=1)
    deadline = time.monotonic() + 10
    while len(brought) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    ahead.close()
    assert brought == [1, 2, 3] and ahead.errors == 1
