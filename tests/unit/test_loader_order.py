"""The order of samples: a pure function of the position that deals every sample once an epoch."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivetrain.plugins.loaders.webdataset.order import Order, evaluation_share

SIZES = st.lists(st.integers(1, 20), min_size=1, max_size=14)
CUT = {"slots": st.integers(1, 12), "window": st.integers(1, 6), "seed": st.integers(0, 2**40)}


def line_of(order: Order, draws: int) -> np.ndarray:
    """The first ``draws`` samples in the order of g, numbered through."""
    starts = np.concatenate([[0], np.cumsum(order.sizes)])
    out = np.full(-(-draws // order.slots) * order.slots, -1)
    for slot in range(order.slots):
        shards, places = order.draw(slot, 0, len(out) // order.slots)
        assert (places < order.sizes[shards]).all() and (places >= 0).all()
        out[slot :: order.slots] = starts[shards] + places
    return out[:draws]


@given(sizes=SIZES, **CUT)
@settings(max_examples=150)
def test_every_sample_exactly_once_an_epoch(sizes, slots, window, seed):
    order = Order(sizes, "set", seed, slots, window)
    epochs = line_of(order, 3 * order.total).reshape(3, order.total)
    assert (np.sort(epochs, 1) == np.arange(order.total)).all()


@given(sizes=SIZES, start=st.integers(0, 300), counts=st.lists(st.integers(1, 9), min_size=1, max_size=5), **CUT)
@settings(max_examples=100)
def test_any_position_at_once_equals_the_way_there(sizes, slots, window, seed, start, counts):
    slot = start % slots
    whole = Order(sizes, "set", seed, slots, window, lanes=slots).draw(slot, 0, start + sum(counts))
    fresh = Order(sizes, "set", seed, slots, window)
    for count in counts:
        got = fresh.draw(slot, start, count)
        assert all((a == b[start : start + count]).all() for a, b in zip(got, whole))
        start += count


@given(sizes=SIZES, position=st.integers(0, 500), **CUT)
@settings(max_examples=100)
def test_a_replacement_is_of_the_same_pool_and_always_the_same(sizes, slots, window, seed, position):
    order = Order(sizes, "set", seed, slots, window)
    chosen = [order.replacement(position, attempt) for attempt in range(4)]
    assert chosen == [Order(sizes, "set", seed, slots, window).replacement(position, attempt) for attempt in range(4)]
    at = order._locate(position % slots, position // slots)
    shards, places = order._on_shards(at.epoch, np.arange(at.low, at.high))
    assert set(chosen) <= set(zip(shards.tolist(), places.tolist()))
    late = {order.replacement(position, attempt) for attempt in range(8, 60)}
    assert len(late) > 1 or order.total < 5, "a pool with nothing sound in it is no dead end"


@pytest.mark.parametrize("change", [{"seed": 2}, {"order_id": "other"}, {"slots": 8}, {"window": 3}])
def test_the_order_depends_on_what_it_says(change):
    base = {"order_id": "set", "seed": 1, "slots": 4, "window": 2}
    first, second = (line_of(Order([10] * 40, **kind), 400) for kind in (base, base | change))
    assert (first != second).any()


def test_two_epochs_differ():
    line = line_of(Order([10] * 40, "set", 1, 4, 2), 800)
    assert (line[:400] != line[400:]).mean() > 0.9


def test_the_order_stays_what_it_is():
    """A change of these numbers breaks the resuming of every run there is."""
    order = Order([3, 5, 2, 4, 6, 1], "0123456789abcdef", 7, 4, 2)
    assert line_of(order, 30).tolist() == GOLDEN
    wide = Order([2] * 24, "0123456789abcdef", 7, 2, 3)
    assert wide.joined == 1 and line_of(wide, 20).tolist() == GOLDEN_WIDE


GOLDEN = [7, 9, 17, 15, 12, 4, 1, 18, 20, 8, 2, 19, 3, 6, 0, 14, 5, 10, 16, 13, 11, 9, 1, 17, 10, 8, 19, 2, 11, 20]
GOLDEN_WIDE = [46, 29, 26, 13, 36, 7, 27, 12, 47, 6, 37, 28, 3, 44, 2, 8, 32, 45, 33, 9]


def test_a_slot_reads_its_own_shards():
    order = Order([50] * 640, "set", 3, 8, 8)
    assert order.joined == 1
    for slot in range(8):
        shards, _ = order.draw(slot, 0, 50 * 640 // 8)
        assert len(np.unique(shards)) <= 640 // 8 + 1


def test_a_global_batch_is_nearly_an_independent_draw():
    order = Order([100] * 5000, "set", 1, 64, 64)
    distinct = [
        len(np.unique(np.concatenate([order.draw(slot, 4 * step, 4)[0] for slot in range(64)]))) for step in (0, 500, 1500)
    ]
    assert min(distinct) > 244, "250 of 256 were measured, an independent draw gives 254"


def test_small_sets_share_pools_of_neighbouring_lanes():
    assert Order([10] * 100, "set", 1, 64, 64).joined == 64
    assert Order([10] * 1000, "set", 1, 64, 64).joined == 8
    assert Order([10] * 4096, "set", 1, 64, 64).joined == 1
    assert Order([10], "set", 1, 6, 64).joined == 6


def test_resuming_a_long_run_takes_no_time():
    order = Order(np.full(200_000, 1000), "set", 1, 256, 64)
    began = time.perf_counter()
    order.draw(17, 10**9, 4)
    assert time.perf_counter() - began < 0.5


@given(batches=st.integers(0, 50), world=st.integers(1, 9))
def test_evaluation_shares_are_even_and_whole(batches, world):
    shares = [evaluation_share(batches, rank, world) for rank in range(world)]
    assert [batch for share in shares for batch in share] == list(range(batches))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
