"""A run's folder: nothing lost, nothing counted twice."""

from __future__ import annotations

import subprocess
import sys

import pytest

from drivetrain.errors import UserError
from drivetrain.run import RunFolder, append_record, read_records


def begun(path) -> RunFolder:
    folder = RunFolder(path)
    folder.begin()
    folder.freeze("seed: 1\n", {"seed": 1})
    return folder


def test_records_after_the_checkpoint_are_superseded_and_a_torn_line_is_cut(tmp_path):
    folder = begun(tmp_path / "run")
    for step in range(1, 6):
        append_record(folder.metrics, {"step": step, "loss": 1 / step})
        append_record(folder.path / "samples" / "rank-00000.jsonl", {"step": step, "keys": ["a"]})
    with folder.metrics.open("a") as file:
        file.write('{"step": 6, "lo')
    assert folder.supersede(3) == 4
    append_record(folder.metrics, {"step": 4, "loss": 0.5})
    assert [(r["step"], r["loss"]) for r in folder.records()] == [(1, 1.0), (2, 0.5), (3, 1 / 3), (4, 0.5)]
    assert [r["step"] for r in folder.records(superseded=True)] == [1, 2, 3, 4, 5, 4]
    samples = list(read_records(folder.path / "samples" / "rank-00000.jsonl"))
    assert [r["step"] for r in samples if not r.get("superseded")] == [1, 2, 3]


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="holds files but is no run"):
        begun(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_two_processes_cannot_run_one_run(tmp_path):
    folder = RunFolder(begun(tmp_path / "run").path)  # the lock is the process's, not an object's
    code = "import sys; from drivetrain.run import RunFolder; RunFolder(sys.argv[1]).begin()"
    done = subprocess.run([sys.executable, "-c", code, str(folder.path)], capture_output=True, text=True)
    assert done.returncode != 0 and "another process is running this run" in done.stderr


def test_a_later_layout_is_refused(tmp_path):
    folder = begun(tmp_path / "run")
    text = (folder.path / "run.json").read_text()
    (folder.path / "run.json").write_text(text.replace('"layout": 1', '"layout": 9'))
    with pytest.raises(UserError, match="run layout 9"):
        folder.info()
    with pytest.raises(UserError, match="is no run"):
        RunFolder(tmp_path / "none").info()
