"""How a study goes, told while it runs: on a terminal, and where there is none."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys

import pytest
from conftest import ROOT, SMALL
from rich.console import Console
from unit.search_made import controller

from drivetrain import Parameter, Space
from drivetrain.search.asking import told
from drivetrain.search.board import Board


def figures(values, step):
    """Of the simulated executor."""
    return {"miou": values["optimizer.lr"] * step}


def on_terminal(command, **environment):
    """(exit code, all that a command writes to a terminal of 160 columns)."""
    ours, theirs = pty.openpty()
    settings = {**os.environ, "COLUMNS": "160", "TERM": "xterm", **environment}
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs, env=settings)
    os.close(theirs)
    text = b""
    try:
        while block := os.read(ours, 65536):
            text += block
    except OSError:
        pass  # the terminal's other end is closed
    os.close(ours)
    return process.wait(timeout=60), re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.decode())


def test_a_terminal_gets_a_table(tmp_path):
    simulated = "{plugin: simulated, objective: 'unit.test_search_board:figures', slots: 3, every: 1}"
    words = [f"search={{space: {{optimizer.lr: {{low: 1e-4, high: 1e-2}}}}, trials: 7, executor: {simulated}}}"]
    command = [sys.executable, "-m", "drivetrain", "search", SMALL, "--study", str(tmp_path / "s"), *words]
    code, text = on_terminal(command, SMALL_SHARDS=str(tmp_path), PYTHONPATH=str(ROOT / "tests"))
    assert code == 0, text
    assert re.search(r"\d of 7 trials: .*running", text) and re.search(r"trial +state +step +rung +miou +values", text)
    assert re.search(r"\d +running +\d+/10 +0/1 +", text) and "lr 0.00" in text
    assert len(re.findall(r"trial \d complete at step 10: miou 0\.", text)) == 7, "lines stay above the table"


def test_values_in_brackets_are_no_markup():
    space = Space((Parameter("w", choices=([True, False], "[/b]", "a[b]c")), Parameter("x", low=0.0, high=1.0)))
    one = controller("grid", trials=4, space=space, objective=lambda values, step: {"loss": values["x"]})
    one.run()
    console = Console(file=io.StringIO(), width=120)
    console.print(Board(16, (16,), 4, None, pauses_end=True, say=print)._table(one.ledger, 3.0))
    shown = console.file.getvalue()
    assert all(told(trial.values) in shown for trial in one.ledger.trials), shown


@pytest.mark.parametrize(
    ("limits", "left"), [((40, None), 100.0), ((40, 130.0), 30.0), ((None, 130.0), 30.0), ((None, None), None)]
)
def test_what_is_left(limits, left):
    one = controller(trials=20)
    one.run()
    board = Board(16, (16,), *limits, pauses_end=True, say=print)
    assert board.left(one.ledger, 100.0) == left
    best = one.ledger.best
    assert board.line(one.ledger, 100.0).startswith(f"20{' of 40' if limits[0] else ''} trials: 20 complete; best: trial "
                                                     f"{best.number}, loss {best.losses[0]:.4f}; 0:01:40")  # fmt: skip


def test_paused_trials_of_a_population_are_not_done():
    one = controller(scheduler="asha", trials=30)
    one.run()
    paused = one.ledger.counts["paused"]
    assert paused > 10
    assert Board(16, (1, 4, 16), 30, None, True, print).left(one.ledger, 60.0) == 0
    steps = sum(t.step for t in one.ledger.trials)
    left = Board(16, (1, 4, 16), 30, None, False, print).left(one.ledger, 60.0)
    assert left == pytest.approx((30 - steps / 16) * 60 / (steps / 16))
