"""What crosses the network, how often, and who counts it: chunks in flight, workers' counters, evaluation, bad copies."""

import math
import os
import shutil
import sys
import threading
import time
import warnings
from pathlib import Path
from threading import Event

import pytest
from conftest import SMALL

from drivetrain import local_world_from_environment
from drivetrain.building import build_loader
from drivetrain.manager import get_manager
from drivetrain.plugins.loaders.webdataset.reader import ShardSet
from drivetrain.plugins.loaders.webdataset.shards import Table
from drivetrain.plugins.loaders.webdataset.storage.cache import Cache
from drivetrain.plugins.loaders.webdataset.storage.config import CacheConfig, StorageConfig
from drivetrain.plugins.loaders.webdataset.storage.pace import Pace, patience
from drivetrain.plugins.loaders.webdataset.storage.roots import Roots
from drivetrain.recipe import load_recipe
from drivetrain.start import _data_ids

sys.path.append(str(Path(__file__).parent))
from loader_serving import serving
from loader_toy import Toy, convert, loader, spec
from test_loader_cache import bring_all, cached_training, numbers, storage, taken
from test_loader_storage import keys


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fetching") / "set"
    return folder, convert(Toy(24), folder)


@pytest.fixture
def fetched(tmp_path):
    """A cache of which a chunk is being fetched, and what lets its bytes come."""
    cache, come, holds = Cache(CacheConfig(path=str(tmp_path))), Event(), []

    def fetch(offset, length):
        assert come.wait(20)
        return numbers(0)(offset, length)

    thread = threading.Thread(target=lambda: holds.append(cache.bring(5, 0, 1000, fetch, Event())))
    thread.start()
    while not cache._path(5, 0).with_suffix(".part").exists():
        time.sleep(0.001)
    yield cache, come
    come.set()
    thread.join()


def test_a_read_waits_for_the_chunk_that_is_being_fetched(fetched):
    cache, come = fetched
    threading.Timer(0.2, come.set).start()
    assert cache.read(5, 100, 50) == numbers(0)(100, 50)
    assert cache.counters["hits"] == cache.counters["waits"] == 1 and not cache.counters["misses"]


def test_a_read_does_not_wait_for_a_chunk_whose_bytes_stopped_coming(fetched):
    cache, _ = fetched
    [part] = cache.folder.glob("*.part")
    os.utime(part, (time.time() - 60,) * 2)
    began = time.monotonic()
    assert cache.read(5, 100, 50) is None and cache.read(6, 0, 10) is None
    assert time.monotonic() - began < 2 and not cache.counters["waits"]


def test_a_chunk_is_not_late_where_a_small_file_would_be():
    pace, slow, chunk = Pace(), Pace(), 4 << 20
    for _ in range(50):
        pace.note(0, 0.002)
    assert patience([pace], 0) < 0.1 and patience([pace], chunk) > 4
    for _ in range(50):
        pace.note(chunk, 0.5)
        slow.note(chunk, 5.0)
    for roots in [pace], [pace, slow], [pace, Pace()]:
        assert 1.4 < patience(roots, chunk) < 1.6 and patience(roots, 0) < 0.1
    pace.waited(chunk, 9.0)
    assert pace.usual(chunk) == 9.0 and pace.usual(0) < 0.01


def test_where_all_roots_are_slow_few_requests_are_hedged(made):
    folder, _ = made
    with serving(folder, "slow") as one, serving(folder, "slow") as other:
        roots = Roots([one, other], StorageConfig(in_flight=1))
        for _ in range(12):
            for pace in (root.pace for root in roots.roots):
                for _ in range(200):
                    pace.note(0, 0.001)  # so that what it takes now is unusual
            roots.get("shard-000000.tar")
        assert 0 < sum(root.counters["hedges"] for root in roots.roots) <= 5
        roots.close()


def test_what_worker_processes_read_is_counted(made):
    folder, _ = made
    with serving(folder) as address:
        config = loader(workers=1, storage={"cache": {"max_gb": 0}})
        stream = config.training(spec(address), batch_global=4, batch_micro=4, rank=0, world=1, threads=1, pin=False)
        try:
            own = stream.counters()[f"root/{address}/bytes"]
            for _, batch in zip(range(3), stream.batches(0)):
                batch.release()
            counters = stream.counters()
        finally:
            stream.close()
    assert counters[f"root/{address}/bytes"] - own >= counters["bytes"] > 0
    assert counters[f"root/{address}/requests"] >= 12


def test_evaluation_is_fetched_ahead_too(made, tmp_path):
    folder, whole = made
    with serving(folder) as address:
        config = loader(storage=storage(tmp_path).model_dump())
        stream = config.evaluation(spec(address), batch_micro=4, rank=0, world=1, threads=1, pin=False)
        try:
            found = []
            for batch in stream:
                found += batch.keys
                batch.release()
            counters = stream.counters()
        finally:
            stream.close()
    assert found == keys(whole) and not stream.missing
    assert counters["cache/bytes_ahead"] and counters["cache/hits"] > len(found) / 2


def spoilt(folder, copy):
    """A copy of which one byte of the first sample is another."""
    shutil.copytree(folder, copy)
    [sample] = Table.read(folder / "shard-000000.idx").pieces(0)
    data = bytearray((copy / "shard-000000.tar").read_bytes())
    data[sample.offset + 600] ^= 1
    (copy / "shard-000000.tar").write_bytes(data)
    return copy


def test_a_root_with_bad_bytes_is_counted_and_named_once(made, tmp_path):
    folder, whole = made
    with serving(spoilt(folder, tmp_path / "bad")) as bad, serving(folder) as good:
        shards = ShardSet([bad, good], storage(tmp_path / "cache", max_gb=0))
        first, second = shards.roots.roots
        assert not shards.withdrawn  # it is looked for on both
        with pytest.warns(UserWarning, match=f"{bad} gave bad bytes of shard-000000.tar") as told:
            for _ in range(2):
                second.aside_until = math.inf  # so that the other one is asked first
                assert shards.frame(0).key == keys(whole)[0]
        assert len(told) == 1 and first.counters["bad_reads"] == 2 and not second.counters["bad_reads"]


def test_bad_bytes_of_one_root_do_not_enter_the_cache_and_those_of_all_take_only_their_sample(made, tmp_path):
    folder, whole = made
    bad = spoilt(folder, tmp_path / "bad")
    with serving(bad) as one, serving(folder) as other:
        shards = ShardSet([one, other], storage(tmp_path / "cache", chunk_mb=1))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert None not in bring_all(shards)
        assert keys(shards) == keys(whole) and not shards.cache.counters["dropped"] and not shards.cache.counters["misses"]
    with serving(bad) as one:
        shards = ShardSet(one, storage(tmp_path / "other", chunk_mb=1))
        assert None not in bring_all(shards)
        assert [shards.frame(i).key for i in range(1, len(shards))] == keys(whole)[1:]
        assert shards.cache.counters["hits"] == len(whole) - 1


def test_streams_that_share_a_cache_fetch_the_set_once(made, tmp_path):
    """Of two streams that share a cache: what the servers send for two epochs is the set, or little more."""
    folder, _ = made
    tars = sum(path.stat().st_size for path in folder.glob("*.tar"))
    with serving(folder) as address:
        streams = [cached_training(address, tmp_path, chunk_mb=1) for _ in range(2)]
        try:
            found = [key for stream in streams for batch in taken(stream, 6, 0.01) for key in batch]
            sent = sum(stream.counters()["cache/bytes_ahead"] for stream in streams)
            misses = sum(stream.counters()["cache/misses"] for stream in streams)
        finally:
            for stream in streams:
                stream.close()
    assert len(found) == 48 and set(found) == set(found[:24]) and sent == tars
    assert misses < 24, "only what was asked for before its chunk was begun: nothing of the second epoch"


@pytest.mark.parametrize(("here", "ahead"), [("1", False), ("4", True)])
def test_of_few_shards_a_node_fetches_ranges_where_chunks_would_mostly_be_others(made, tmp_path, here, ahead, monkeypatch):
    """Six shards, all of which eight slots draw from, on two nodes or on eight."""
    folder, _ = made
    monkeypatch.setenv("LOCAL_WORLD_SIZE", here)
    with serving(folder) as address:
        config = loader(storage=storage(tmp_path).model_dump())
        stream = config.training(spec(address), batch_global=16, batch_micro=2, rank=3, world=8, threads=1, pin=False)
        try:
            for _, batch in zip(range(3), stream.batches(0)):
                batch.release()
            assert bool(stream.counters()["cache/bytes_ahead"]) == ahead
        finally:
            stream.close()


@pytest.mark.parametrize("environment, here", [
    ({}, 1), ({"LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8"}, 4), ({"LOCAL_SIZE": "2", "WORLD_SIZE": "4", "RANK": "1"}, 2),
    ({"SLURM_STEP_NUM_TASKS": "24", "SLURM_STEP_TASKS_PER_NODE": "8(x3)", "SLURM_PROCID": "9", "SLURM_LOCALID": "1"}, 8),
])  # fmt: skip
def test_ranks_of_this_host_by_launcher(environment, here, monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "LOCAL_SIZE", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert local_world_from_environment() == here
    assert "RANK" not in os.environ or environment.get("RANK"), "asking joins nothing"


def test_a_run_records_the_ids_of_remote_sets(shards):
    with serving(shards / "train") as address:
        recipe = load_recipe(SMALL, (f"data.train.small.shards={address}",), get_manager())
        ids = _data_ids(recipe, build_loader(recipe))
    for split in ("train", "val"):
        info = ShardSet(shards / split).info
        assert ids[f"{split}.small"] == {"order_id": info["order_id"], "content_id": info["content_id"]}
