"""Curation: what is planted is found, the rest is left alone, and the view names it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import drivetrain
from hypothesis import given, settings
from hypothesis import strategies as st

from drivetrain import Boxes, CameraLabels, Overlay, OverlayWriter
from drivetrain.curation import Job, curate
from drivetrain.plugins.curation import similarity
from drivetrain.plugins.curation.config import InformativeConfig, LabelErrorsConfig, NearDuplicatesConfig
from drivetrain.plugins.curation.informative import Informative
from drivetrain.plugins.curation.label_errors import LabelErrors
from drivetrain.plugins.curation.near_duplicates import NearDuplicates

sys.path.append(str(Path(__file__).parent))
from loader_toy import BOX_CLASSES, Toy, convert, jpg

HEIGHT, WIDTH = 96, 128
BLACK, WHITE, TWICE, ALIKE, BLURRED, WRONG = 3, 4, 5, 6, 7, 8


def street(seed: int) -> np.ndarray:
    """Coarse shapes with fine detail on them."""
    rng = np.random.default_rng(seed)
    shapes = cv2.resize(rng.integers(0, 255, (6, 8, 3), np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
    return cv2.add(shapes // 2, rng.integers(0, 90, (HEIGHT, WIDTH, 3), np.uint8))


def changes() -> dict[int, dict]:
    pictures = {number: street(number) for number in range(40)}
    pictures[BLACK] = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pictures[WHITE] = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    pictures[TWICE] = pictures[0]
    pictures[ALIKE] = cv2.add(pictures[1], 2)
    pictures[BLURRED] = cv2.GaussianBlur(pictures[BLURRED], (0, 0), 4)
    out = {number: {"image": jpg(picture), "semantic": None} for number, picture in pictures.items()}
    out[WRONG]["boxes"] = Boxes([[100, 10, 200, 40], [5, 5, 5.2, 40], [1, 1, 90, 2]], ["car", "person", "car"])
    return out


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    toy = Toy(40, (HEIGHT, WIDTH), [f"f{i:02d}" for i in range(40)], changes())
    return Path(convert(toy, tmp_path_factory.mktemp("curation") / "train").path)


@pytest.fixture(scope="module")
def curated(shards, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "curation"
    done = drivetrain("data", "curate", shards, "--out", out, "--workers", 2)
    assert done.returncode == 0, done.stderr
    return out


def test_what_is_planted_is_found_and_nothing_else(curated):
    found = [json.loads(line) for line in (curated / "findings.jsonl").read_text().splitlines()]
    keys = {(finding["check"], finding["key"]) for finding in found if finding["key"]}
    expected = {
        ("exact_duplicates", TWICE), ("near_duplicates", ALIKE), ("exposure", BLACK), ("exposure", WHITE), ("blur", BLURRED),
        ("blur", WHITE), ("label_sanity", WRONG),
    }  # fmt: skip
    assert keys == {(check, f"f{number:02d}") for check, number in expected}
    assert [f["partner"] for f in found if f["check"] in ("exact_duplicates", "near_duplicates")] == ["f00", "f01"]
    sane = [f["what"] for f in found if f["check"] == "label_sanity"]
    assert len(sane) == 3 and "reaches out" in sane[0] and "0.2 px across" in sane[1] and "89 times" in sane[2]
    page = (curated / "report.html").read_text()
    assert page.count("data:image/jpeg;base64") == 11 and "http" not in page  # self-contained


def test_the_view_leaves_out_what_its_checks_found(curated, shards, tmp_path):
    wrong = {f"f{number:02d}" for number in (BLACK, WHITE, TWICE, BLURRED)}
    assert set(pq.read_table(curated / "view" / "excluded.parquet")["key"].to_pylist()) == wrong
    assert set(Overlay(curated / "view").excluded) == wrong
    only = ["--checks", "label_sanity", "--exclude", "label_sanity"]
    done = drivetrain("data", "curate", shards, "--out", tmp_path / "o", *only)
    assert done.returncode == 0 and set(Overlay(tmp_path / "o" / "view").excluded) == {f"f{WRONG:02d}"}


def test_a_leak_between_sets_is_told(shards, tmp_path):
    leaked = {0: {"image": jpg(cv2.add(street(12), 2)), "semantic": None}, 1: {"image": jpg(street(99)), "semantic": None}}
    val = convert(Toy(2, (HEIGHT, WIDTH), ["v0", "v1"], leaked), tmp_path / "val", split="val")
    out = tmp_path / "out"
    assert drivetrain("data", "curate", shards, val.path, "--out", out, "--checks", "leakage").returncode == 0
    found = [json.loads(line) for line in (out / "findings.jsonl").read_text().splitlines()]
    assert [(f["key"], f["partner"], "drive" in f["what"]) for f in found] == [("v0", "f00", True), ("v0", "f12", False)]
    assert {path.name for path in (out / "view").iterdir()} == {"train", "val"}


def test_mistakes_are_messages_and_nothing_is_overwritten(curated, shards, tmp_path):
    for arguments, told in (
        ([shards, "--out", curated], "is there already"),
        ([shards, "--out", tmp_path / "a", "--checks", "blurr"], "did you mean 'blur'"),
        ([shards, "--out", tmp_path / "a", "--option", "blur.deviation=3"], "options: deviations"),
        ([shards, "--out", tmp_path / "a", "--exclude", "label_errors"], "no check 'label_errors'"),
        ([shards, "--out", tmp_path / "a", "--checks", "label_errors"], "a prediction set is needed"),
        ([tmp_path, "--out", tmp_path / "a"], "no shard set"),
    ):
        done = drivetrain("data", "curate", *arguments)
        assert done.returncode == 2 and told in done.stderr and "Traceback" not in done.stderr, done.stderr


@settings(max_examples=60)
@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=12), st.integers(0, 6), st.randoms(use_true_random=False))
def test_the_search_finds_each_close_pair_exactly_once(seeds, bits, random):
    near = [seed ^ sum(1 << i for i in random.sample(range(64), random.randint(0, 8))) for seed in seeds]
    hashes = np.array([*seeds, *near], np.uint64)
    found = [pair for a, b in similarity.candidates(hashes, bits) for pair in zip(a.tolist(), b.tolist())]
    numbers = hashes.tolist()
    close = {(i, j) for j in range(len(numbers)) for i in range(j) if (numbers[i] ^ numbers[j]).bit_count() <= bits}
    assert len(found) == len(set(found)) and set(found) == close


def test_findings_do_not_depend_on_workers(shards):
    def run(workers):
        job = Job((str(shards),), {"near": NearDuplicates(NearDuplicatesConfig(difference=30.0, bits=15))})
        return curate(job, workers)[0]

    assert run(1) == run(2) and run(1)["near"]


def predicted(path, said) -> str:
    with OverlayWriter(path) as writer:
        for key, boxes in said.items():
            writer.add(key, {"cam_front": CameraLabels(boxes)})
        writer.finish("predictions", {"object_detection": BOX_CLASSES}, {"run": "a"})
    return str(path)


def test_likely_label_errors_are_told_by_confidence(tmp_path):
    car, far = [10, 10, 40, 40], [70, 60, 100, 90]
    labels = {
        0: Boxes([car], ["car"]),
        1: Boxes([car], ["car"]),
        2: Boxes([car], ["person"]),
        3: Boxes([car, far], ["car", "car"]),
    }
    pictures = {n: {"image": jpg(street(n)), "semantic": None, "boxes": boxes} for n, boxes in labels.items()}
    shards = convert(Toy(4, (HEIGHT, WIDTH), list("abcd"), pictures), tmp_path / "set")
    said = {
        "a": Boxes([car, far], ["car", "car"], scores=[0.6, 0.9]),  # a missing label
        "b": Boxes([car, far], ["car", "car"], scores=[0.8, 0.5]),  # below the mean of what agrees, 0.7
        "c": Boxes([car], ["car"], scores=[0.95]),  # a wrong class
        "d": Boxes([car], ["car"], scores=[0.7]),  # a label that is alone
    }
    job = Job((shards.path,), {"errors": LabelErrors(LabelErrorsConfig())}, (), predicted(tmp_path / "said", said))
    found = curate(job, 1)[0]["errors"]
    assert [(f.place.key, f.what) for f in found] == [
        ("c", "labelled person, predicted car (score 0.95)"), ("a", "a car without a label (score 0.90)"),
        ("d", "a car that no prediction overlaps")]  # fmt: skip


def test_unlabelled_frames_are_chosen_by_doubt_and_unlikeness(tmp_path):
    pictures = {n: {"image": jpg(street(n // 2)), "semantic": None, "boxes": None} for n in range(6)}
    shards = convert(Toy(6, (HEIGHT, WIDTH), list("abcdef"), pictures), tmp_path / "set")
    box = [[10, 10, 40, 40]]
    said = {key: Boxes(box, ["car"], scores=[score]) for key, score in zip("abcdef", (0.5, 0.5, 0.99, 0.99, 0.9, 0.9))}
    job = Job((shards.path,), {"best": Informative(InformativeConfig(count=3))}, (), predicted(tmp_path / "said", said))
    chosen = [finding.place.key for finding in curate(job, 1)[0]["best"]]
    assert chosen[0] == "a" and "b" not in chosen  # b is a's twin: as doubtful, and nothing new
