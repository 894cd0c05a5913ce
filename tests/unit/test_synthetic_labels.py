"""The synthetic world's further labels, held against its geometry and against its pictures."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from drivetrain import RecipeError, decode_pixels, frame_to_parts
from drivetrain.data import open_dataset
from drivetrain.datasets.synthetic.classes import LANE_MARKING, ROAD
from drivetrain.datasets.synthetic.dataset import CAMERA
from drivetrain.datasets.synthetic.geometry import View, front_camera
from drivetrain.datasets.synthetic.ground_view import ground_positions
from drivetrain.datasets.synthetic.labels import DRIVABLE, lanes_of
from drivetrain.datasets.synthetic.render import render
from drivetrain.datasets.synthetic.world import WorldConfig, _build, build_scene
from drivetrain.testing.datasets import check_dataset

SIZE = {"width": 320, "height": 180}
ALL = ["semantic", "boxes", "drivable", "lanes", "depth", "instances"]
WORLD = WorldConfig(frames_per_scene=2)
LENS = front_camera(320, 180)


def world(**options):
    return open_dataset("synthetic", {"frames": 10, "frames_per_scene": 2, **SIZE, **options})[1]


@pytest.fixture(scope="module")
def frames():
    """Ten frames of five drives with all labels: (scene, moment, view, camera)."""
    out, dataset = [], world(labels=ALL)
    for number, frame in enumerate(map(dataset.load, dataset.index(Path("-"), "train"))):
        scene = build_scene(0, number // 2, WORLD)
        moment = scene.at(number % 2)
        out.append((scene, moment, View(LENS, moment.ego_to_world @ LENS.sensor_to_ego), frame.cameras[CAMERA]))
    return out


def positions(view: View, depth: np.ndarray) -> np.ndarray:
    """World points [H, W, 3] of the pixels."""
    return view.position + (depth[..., None] * LENS.rays) @ view.rotation


def test_other_labels_leave_the_others_as_they_are():
    some, full, plain = world(labels=["lanes", "depth"]), world(labels=ALL), world()
    check_dataset(full, Path("-"), "train", limit=1)
    assert list(plain.classes) == ["semantic_segmentation", "object_detection"]
    assert list(some.classes) == ["lane_detection", "depth_estimation"]
    for ref in plain.index(Path("-"), "train")[:2]:
        parts, more, fewer = (frame_to_parts(one.load(ref)) for one in (plain, full, some))
        assert list(parts) == [f"{CAMERA}.jpg", f"{CAMERA}.semantic.png", "json"]
        assert all(more[name] == parts[name] for name in list(parts)[:2]) and fewer[f"{CAMERA}.jpg"] == parts[f"{CAMERA}.jpg"]
        bare = full.load(ref)
        bare.cameras[CAMERA] = replace(bare.cameras[CAMERA], drivable=None, lanes=None, depth=None, instances=None)
        assert frame_to_parts(bare) == parts
    with pytest.raises(RecipeError, match="name boxes too"):
        world(labels=["instances"])


def test_depth_of_the_ground_is_the_ground_and_the_sky_has_none(frames):
    seen = 0
    for _, _, view, camera in frames:
        depth, semantic = decode_pixels("depth", camera.depth), decode_pixels("semantic", camera.semantic)
        ground = np.isin(semantic, (ROAD, LANE_MARKING)) & (depth > 0) & (depth < 60)
        height = positions(view, depth)[ground][:, 2]
        seen += len(height)
        assert np.abs(height).max(initial=0) < 0.02, "within the 2 mm of a step of the PNG, seen at a flat angle"
        assert not depth[0].any() or (semantic[0] != 8).any(), "a row of sky"
        assert not depth[semantic == 8].any()
    assert seen > 50_000


def test_depth_of_things_lies_in_their_boxes(frames):
    """Points of each object's pixels, taken into its own 3D box."""
    shares, kinds = [], set()
    for _, moment, view, camera in frames:
        depth, instances = decode_pixels("depth", camera.depth), decode_pixels("instances", camera.instances)
        states = {state.track_id: state for state in moment.objects}
        for number, track in enumerate(camera.boxes.track_ids.tolist(), start=1):
            state, mine = states[track], instances == number
            if mine.sum() < 40:
                continue
            c, s = np.cos(state.yaw), np.sin(state.yaw)
            local = (positions(view, depth)[mine] - state.centre) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
            inside = (np.abs(local) <= np.array(state.size) / 2 + 0.4).all(1)  # limbs and mirrors reach out of the box
            shares.append(inside.mean())
            kinds.add(state.class_name)
    assert len(shares) > 12 and {"car", "pedestrian"} <= kinds
    assert np.mean(shares) > 0.97 and np.min(shares) > 0.75


def test_instances_are_where_their_boxes_are(frames):
    for *_, camera in frames:
        instances = decode_pixels("instances", camera.instances)
        assert set(np.unique(instances)) == set(range(len(camera.boxes) + 1))
        for number, box in enumerate(camera.boxes.xyxy.tolist(), start=1):
            x, y, width, height = cv2.boundingRect((instances == number).astype(np.uint8))
            assert box == [x, y, x + width, y + height]


def test_drivable_area_is_the_road_of_the_egos_direction(frames):
    seen = set()
    for scene, moment, view, camera in frames:
        drivable, semantic = decode_pixels("drivable", camera.drivable), decode_pixels("semantic", camera.semantic)
        directions = cv2.transform(LENS.rays, view.camera_to_world[:3, :3].astype(np.float32))
        across = ground_positions(scene, view, moment, directions).across
        free = drivable != DRIVABLE.index("background")
        assert np.isin(semantic[free], (ROAD, LANE_MARKING)).all() and free.any()
        own = drivable == DRIVABLE.index("direct")
        assert np.abs(across[own] - scene.ego.d).max(initial=0) < 1.9
        others = [d for d, way in scene.profile.lane_centres if way < 0]
        assert (np.abs(across[free][:, None] - others) > 1.4).all(), "nothing of the lanes that come towards us"
        seen |= set(np.unique(drivable).tolist())
    assert seen == {0, 1, 2}


@pytest.mark.parametrize("place", ["urban", "highway"])
def test_lanes_lie_on_their_paint(place):
    """On an empty road in daylight; a dashed line's gaps are labelled too."""
    hits = []
    for index in range(3):
        config = WorldConfig(places=((place, 1.0),), weathers=(("clear", 1.0),), times=(("day", 1.0),))
        scene = replace(_build(config, index), things=[], casters=[], cache={})
        lens, moment = front_camera(640, 360), scene.at(1)
        lanes = lanes_of(scene, moment, View(lens, moment.ego_to_world @ lens.sensor_to_ego))
        assert {"ego_left"} <= set(lanes.names) <= {"ego_left", "ego_right", "left", "right"}
        marked = render(scene, 1, lens).semantic == LANE_MARKING
        for line in lanes.points:
            near = line[(line[:, 1] > 230) & (line[:, 1] < 359) & (line[:, 0] > 3) & (line[:, 0] < 637)]
            hits += [marked[int(y), max(0, int(x) - 3) : int(x) + 4].any() for x, y in near]
    assert len(hits) > 60 and np.mean(hits) > (0.65 if place == "highway" else 0.35)


def test_lanes_run_from_near_to_far_and_the_left_is_left(frames):
    both = 0
    for *_, camera in frames:
        lines = dict(zip(camera.lanes.names, camera.lanes.points))
        assert len(lines) == len(camera.lanes), "each marking once"
        assert all((np.diff(line[:, 1]) <= 0.02).all() for line in lines.values())
        order = [lines[name] for name in ("left", "ego_left", "ego_right", "right") if name in lines]
        for one, other in pairwise(order):
            rows = np.arange(max(one[:, 1].min(), other[:, 1].min()), min(one[:, 1].max(), other[:, 1].max()))
            x = [np.interp(rows, line[::-1, 1], line[::-1, 0]) for line in (one, other)]
            assert (x[0] < x[1]).all()
            both += len(rows) > 0
    assert both > 6
