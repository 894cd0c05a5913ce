"""Clips and joins in time, held against what a reader of the words would write down by hand."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.plugins.loaders.webdataset.timeline import NONE, clip, nearest, previous

SCENES = st.integers(0, 3)
TIMES = st.integers(-5, 20)
frames = st.lists(st.tuples(SCENES, TIMES), max_size=30)


def columns(rows):
    return np.array([s for s, _ in rows], np.int64), np.array([t for _, t in rows], np.int64)


@given(frames)
def test_the_frame_before_is_of_the_same_scene_and_the_latest_that_is_earlier(rows):
    before = previous(*columns(rows))
    for number, (scene, time) in enumerate(rows):
        earlier = [(t, i) for i, (s, t) in enumerate(rows) if s == scene and (t, i) < (time, number)]
        assert before[number] == (max(earlier)[1] if earlier else number)


@given(frames.filter(bool), st.integers(1, 5), st.integers(1, 3), st.data())
def test_a_clip_goes_back_by_strides_and_never_leaves_its_scene(rows, length, stride, data):
    number = data.draw(st.integers(0, len(rows) - 1))
    scene = rows[number][0]
    line = [i for _, i in sorted((t, i) for i, (s, t) in enumerate(rows) if s == scene)]
    place = line.index(number)
    expected = [place]
    while len(expected) < length:
        expected.append(expected[-1] - stride if expected[-1] >= stride else expected[-1])
    assert clip(previous(*columns(rows)), number, length, stride) == [line[i] for i in expected[::-1]]


@given(frames, frames, st.integers(0, 8))
def test_the_partner_is_the_nearest_within_the_tolerance(rows, others, tolerance):
    found = nearest(*columns(rows), *columns(others), tolerance)
    for (scene, time), partner in zip(rows, found):
        near = [(abs(t - time), t, i) for i, (s, t) in enumerate(others) if s == scene and abs(t - time) <= tolerance]
        assert partner == (min(near)[2] if near else NONE)


def test_ten_lidar_sweeps_join_thirty_pictures():
    camera, lidar = np.arange(30) * 33_333_333, np.arange(10) * 100_000_000 + 5_000_000
    zeros = np.zeros(30, np.int64)
    joined = nearest(zeros, camera, zeros[:10], lidar, 20_000_000)
    assert joined[:5].tolist() == [0, NONE, NONE, 1, NONE]
    assert (joined != NONE).sum() == 10
