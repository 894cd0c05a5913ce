"""A place where nothing can be written is a mistake to tell of, whatever command is given it."""

from __future__ import annotations

import pytest
from conftest import ROOT, SMALL, drivetrain

from drivetrain import UserError
from drivetrain.files import new_file


@pytest.mark.parametrize("words", [
    ("data", "synth", "PLACE", "--train", "2", "--val", "1"),
    ("data", "stats", "SET", "--html", "PLACE"),
    ("recipe", "new", "--data", "SET", "--task", "semantic_segmentation", "--out", "PLACE"),
    ("train", SMALL, "--run", "PLACE"),
    ("launch", SMALL, "--ranks", "2", "--run", "PLACE"),
])  # fmt: skip
def test_below_a_file_there_is_no_place(shards, tmp_path, words):
    file = tmp_path / "file"
    file.write_text("somebody's")
    there = {"PLACE": file / "x", "SET": shards / "train"}
    done = drivetrain(*(there.get(word, word) for word in words))
    assert done.returncode == 2 and "error: " in done.stderr, done.stderr
    assert str(file) in done.stderr and "Traceback" not in done.stderr
    assert file.read_text() == "somebody's"


def test_a_disk_that_is_lost_on_the_way_is_a_crash_which_a_restart_may_mend(shards, tmp_path):
    """Not a mistake, after which nobody tries again."""
    model = "model={plugin: diverging, task: semantic_segmentation, steps: [], ends: disk}"
    done = drivetrain("--plugin", ROOT / "tests" / "plugins" / "diverging.py", "train", SMALL, "--run", tmp_path / "run", model,
                      "parallelism={plugin: single}")  # fmt: skip
    assert done.returncode == 1 and "Read-only file system: 'checkpoints/step-1'" in done.stderr, done.stderr


def test_a_new_file_gets_its_folder_and_takes_nobodys_place(tmp_path):
    place = new_file(tmp_path / "a" / "b" / "c.txt")
    place.write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        new_file(place)
