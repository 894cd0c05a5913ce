"""Blends, selections, sets that grow, withdrawn samples: exact, and the same again from a saved state."""

import dataclasses
import json
import shutil
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivetrain import Balance, DataError, RecipeError
from drivetrain.plugins.loaders.webdataset.blend import BLOCK, Blend, Segment, shares
from drivetrain.plugins.loaders.webdataset.lines import Line
from drivetrain.plugins.loaders.webdataset.order import Order
from drivetrain.plugins.loaders.webdataset.shards import order_id
from drivetrain.plugins.loaders.webdataset.sources import Picked
from drivetrain.train import _check_agreement

sys.path.append(str(Path(__file__).parent))
from loader_toy import Toy, convert, loader, spec

WEIGHTS = st.lists(st.floats(0.01, 10), min_size=1, max_size=5)
SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=8)


def line(sizes, slots, shards=None, name="set"):
    sizes = np.array(sizes)

    def pick(n):
        return Picked(sizes[: n[0]], f"{name}{n[0]}")

    made = Line(pick, [shards or len(sizes)], lambda p: Order(p.sizes, p.order_id, 3, slots, 2, slots))
    return made, np.concatenate([[0], np.cumsum(sizes)])


def drawn(source, starts, slots, count):
    """The first ``count`` draws of every slot, numbered through, in the order of positions."""
    out = np.empty(count * slots, np.int64)
    for slot in range(slots):
        shards, places = source.draw(slot, 0, count)
        out[slot::slots] = starts[shards] + places
    return out


def training(data, rank=0, world=1, batch=(8, 2), **config):
    return loader(**{"window": 2, **config}).training(
        data, batch_global=batch[0], batch_micro=batch[1], rank=rank, world=world, threads=0, pin=False
    )


def asked(*paths, **changes):
    data = spec(*paths)
    return dataclasses.replace(data, sources=tuple(dataclasses.replace(s, **changes) for s in data.sources))


def weighted(paths, weights):
    data = spec(*paths)
    return dataclasses.replace(data, sources=tuple(dataclasses.replace(s, weight=w) for s, w in zip(data.sources, weights)))


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("blends")
    convert(Toy(37), folder / "a")
    convert(Toy(11, keys=[f"b{i}" for i in range(11)]), folder / "b")
    return folder / "a", folder / "b"


# ---------------------------------------------------------------- blends


@given(weights=WEIGHTS)
def test_shares_are_the_nearest_whole_numbers(weights):
    counts = shares(weights)
    exact = np.array(weights) * BLOCK / sum(weights)
    assert counts.sum() == BLOCK and (np.abs(counts - exact) < 1).all()


@given(weights=WEIGHTS, others=WEIGHTS, step=st.integers(0, 900), slots=st.integers(1, 3), micro=st.integers(1, 4))
@settings(max_examples=25)
def test_each_line_is_drawn_from_in_its_own_order_through_changes_of_weights(weights, others, step, slots, micro):
    n = min(len(weights), len(others))
    segments = [Segment(0, tuple(weights[:n])), Segment(step, tuple(others[:n]))][step == 0 :]
    blend = Blend([], segments, 1, slots, micro, slots)
    blend._lines = [None] * n
    for slot in range(slots):
        lines, draws = blend.lines(slot, 0, 4000)
        for number in range(n):
            assert (draws[lines == number] == np.arange((lines == number).sum())).all()
        fresh = Blend([None] * n, segments, 1, slots, micro)
        assert all((x[2500:2507] == y).all() for x, y in zip((lines, draws), fresh.lines(slot, 2500, 7)))
        begun = step * micro
        block = lines[begun : begun + BLOCK]
        if len(block) == BLOCK:
            assert (np.bincount(block, minlength=n) == shares(segments[-1].weights)).all()


def test_a_blend_has_the_shares_and_each_set_once_an_epoch(sets):
    stream = training(weighted(sets, [3, 1]))
    keys = [key for step in range(1000) for slot in stream.keys(step) for key in slot]
    count = Counter(key.startswith("b") for key in keys)
    assert abs(count[False] / len(keys) - 0.75) < 0.01
    for mine in (True, False):
        times = Counter(key for key in keys if key.startswith("b") == mine).values()
        assert max(times) - min(times) <= 2
    stream.close()


def test_other_weights_hold_from_the_step_of_the_resume_on(sets):
    first, later = training(weighted(sets, [3, 1])), training(weighted(sets, [1, 1]))
    before = [first.keys(step) for step in range(60)]
    state = json.loads(json.dumps(first.state(40)))
    assert later.resume(state) == []
    assert [later.keys(step) for step in range(40)] == before[:40]
    assert [later.keys(step) for step in range(40, 60)] != before[40:]
    after = json.loads(json.dumps(later.state(55)))
    assert len(json.dumps(after)) < 1000 and len(after["weights"]) == 2
    again = training(weighted(sets, [1, 1]), rank=1, world=2)
    assert again.resume(after) == [] and [again.keys(s) for s in range(60)] == [later.keys(s) for s in range(60)]
    same = training(weighted(sets, [9, 1]))
    assert same.resume(after, replay=True) == [] and same.keys(58) == later.keys(58)
    assert "one order" in training(spec(*sets)).resume(state)[0]


def test_weights_that_cannot_be_are_refused(sets):
    with pytest.raises(RecipeError, match="has no weight"):
        training(weighted(sets, [1, None]))
    with pytest.raises(RecipeError, match="never be drawn"):
        training(weighted(sets, [10_000, 1]))


# ---------------------------------------------------------------- sets that grow


@given(sizes=SIZES, more=SIZES, slots=st.integers(1, 5), at=st.integers(0, 60))
@settings(max_examples=80)
def test_new_shards_enter_at_an_epochs_start(sizes, more, slots, at):
    old, starts = line(sizes, slots)
    new, whole = line(sizes + more, slots)
    position = at * slots
    new.go_on(new.restored(old.state()))
    new.grow(position)
    few, many = sum(sizes), sum(sizes + more)
    entered = -(-position // few) * few
    count = -(-(entered + 2 * many) // slots)
    got = drawn(new, whole, slots, count)
    assert (got[:entered] == drawn(old, starts, slots, count)[:entered]).all(), "until then nothing has changed"
    epochs = got[entered : entered + 2 * many].reshape(2, many)
    assert (np.sort(epochs, 1) == np.arange(many)).all(), "every sample once an epoch"
    again, _ = line(sizes + more, slots)
    again.go_on(again.restored(json.loads(json.dumps(new.state()))))
    assert (drawn(again, whole, slots, count) == got).all()


def test_a_grown_set_goes_on_and_another_one_is_refused(sets, tmp_path):
    convert(Toy(37), tmp_path / "old")
    stream = training(spec(tmp_path / "old"))
    keys, state = [stream.keys(step) for step in range(6)], json.loads(json.dumps(stream.state(3)))
    small = [key for step in keys for slot in step for key in slot]
    convert(Toy(60), tmp_path / "grown", samples_per_shard=4)
    listed = pq.read_table(tmp_path / "grown/shards.parquet")
    pq.write_table(listed.slice(0, 9), tmp_path / "grown/shards.parquet")  # begin as a set of 9 whole shards
    info = json.loads((tmp_path / "grown/dataset.json").read_text())
    names = list(zip(listed.column("name").to_pylist(), listed.column("samples").to_pylist()))
    (tmp_path / "grown/dataset.json").write_text(json.dumps(info | {"order_id": order_id(names[:9])}))
    begun = training(spec(tmp_path / "grown"))
    kept = begun.state(3)
    before = [begun.keys(step) for step in range(4)]
    pq.write_table(listed, tmp_path / "grown/shards.parquet")
    (tmp_path / "grown/dataset.json").write_text(json.dumps(info))
    grown = training(spec(tmp_path / "grown"))
    assert grown.resume(kept) == [] and [grown.keys(step) for step in range(4)] == before
    positions = [(s * 2 + j) * 4 + m for s in range(20) for m in range(4) for j in range(2)]
    drawn = dict(zip(positions, (key for s in range(20) for slot in grown.keys(s) for key in slot)))
    assert len({drawn[p] for p in range(36)}) == 36 and len({drawn[p] for p in range(36, 96)}) == 60
    assert "shards" in training(spec(sets[1])).resume(state)[0] and len(small) == 48


# ---------------------------------------------------------------- selections


def test_where_and_view_choose_the_same_frames_in_training_and_evaluation(sets, tmp_path):
    (tmp_path / "view").mkdir()
    pq.write_table(pa.table({"key": ["frame/00003", "frame/00011"]}), tmp_path / "view/excluded.parquet")
    data = asked(sets[0], select="scene == 'drive0' or timestamp >= 30", view=str(tmp_path / "view"))
    expected = {f"frame/{i:05d}" for i in [*range(10), *range(30, 37)]} - {"frame/00003"}
    stream = training(data)
    assert stream.state(0)["samples"] == len(expected) == 16
    got = [key for step in range(2) for slot in stream.keys(step) for key in slot]
    assert sorted(got) == sorted(expected)
    seen = loader().evaluation(data, batch_micro=4, rank=0, world=1, threads=0, pin=False)
    assert [key for batch in seen for key in batch.keys] == sorted(expected)
    assert training(spec(sets[0])).resume(stream.state(0))
    [batch] = islice(stream.batches(0), 1)
    assert batch.keys == stream.keys(0)[0], "what is read is what was said"


@pytest.mark.parametrize("batch", [(8, 2), (4, 4)])
def test_one_frame_that_is_left_fills_every_batch(sets, batch):
    stream = training(asked(sets[0], select="key == 'frame/00005'"), batch=batch)
    assert {key for slot in stream.keys(7) for key in slot} == {"frame/00005"}


def test_selections_that_cannot_be_are_refused(sets, tmp_path):
    with pytest.raises(DataError, match="leaves none of its 37 frames"):
        training(asked(sets[0], select="scene == 'nowhere'"))
    with pytest.raises(RecipeError, match=r"tags\.weather"):
        training(asked(sets[0], select="tags.wether == 'rain'"))
    with pytest.raises(DataError, match="is no view"):
        training(asked(sets[0], view=str(tmp_path)))
    seen = loader().evaluation(asked(sets[0], select="scene == 'x'"), batch_micro=4, rank=0, world=1, threads=0, pin=False)
    assert len(seen) == 0 and list(seen) == []


def test_repeat_factors_and_cbgs_are_those_of_their_papers(tmp_path):
    from drivetrain import Boxes

    rare = {i: {"boxes": Boxes(np.array([[1, 1, 9, 9]] * 2), ["car", "person"])} for i in range(0, 400, 40)}
    convert(Toy(400, size=(16, 16), changes=rare), tmp_path / "set", samples_per_shard=100)

    def times(method, threshold=0.1):
        stream = training(asked(tmp_path / "set", balance=Balance(method, threshold)))
        total = stream.state(0)["samples"]
        at = {(s * 2 + j) * 4 + m: key for s in range(-(-total // 8)) for m, slot in enumerate(stream.keys(s))
              for j, key in enumerate(slot)}  # fmt: skip
        return total, Counter(at[p] for p in range(total))

    total, repeats = times("repeat_factor", 0.225)  # sqrt(0.225 / 0.025) = 3
    assert total == 420 and {repeats[f"frame/{i:05d}"] for i in rare} == {3}
    total, repeats = times("cbgs")
    person = sum(repeats[f"frame/{i:05d}"] for i in rare)
    assert person >= total / 4 and times("cbgs") == (total, repeats)


# ---------------------------------------------------------------- withdrawn


def test_a_withdrawn_sample_is_never_read(sets, tmp_path):
    shutil.copytree(sets[0], tmp_path / "set")
    pq.write_table(pa.table({"key": ["frame/00011", "gone"]}), tmp_path / "set/withdrawn.parquet")
    sound, stream = training(spec(sets[0])), training(spec(tmp_path / "set"), max_damaged_share=0)
    assert stream.order_id == sound.order_id
    for batch in islice(stream.batches(0), 40):
        expected = sound.keys(batch.step)[batch.slot]
        assert "frame/00011" not in batch.keys
        assert all(a == b for a, b in zip(batch.keys, expected) if b != "frame/00011")
        batch.release()
    assert stream.counters()["withdrawn"] >= 2 and stream.counters()["replaced"] == 0 and not stream.quarantine.records
    seen = loader().evaluation(spec(tmp_path / "set"), batch_micro=4, rank=0, world=1, threads=0, pin=False)
    assert len([key for batch in seen for key in batch.keys]) == 36 and seen.missing == ["frame/00011"]


def test_ranks_that_opened_other_shards_are_named():
    states = [{"order_id": "a"}, {"order_id": "b"}, {"order_id": "a"}]
    with pytest.raises(DataError, match="other shards than rank 0 were opened by: rank 1"):
        _check_agreement(states)
    _check_agreement(states[::2])
