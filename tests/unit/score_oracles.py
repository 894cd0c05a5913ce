"""What the tests of `drivetrain score` share: oracles, numbers held against them, and scorers asked in this process."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from drivetrain.scoring import flat, mapped


def oracle(shared: Path, name: str) -> Path:
    folder = shared / "oracles" / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    return folder


def ids_of(folder: Path, name: str = "ids.txt") -> list[str]:
    return (folder / name).read_text().split()


def expected_of(folder: Path) -> dict:
    return json.loads((folder / "expected.json").read_text())


def official(scored, times=None) -> dict:
    """Its figures as ``--json`` prints them."""
    figures = scored.figures(np.ones(len(scored.keys), np.int64) if times is None else times)
    return json.loads(json.dumps(mapped(figures, lambda _, value: scored.nothing if value is None else value)))


def agrees(got: dict, expected: dict, within: float = 1e-9) -> int:
    """Every number of ``expected`` is in ``got``; how many there were."""
    ours, count = dict(flat(got)), 0
    for path, value in flat(expected):
        assert path in ours, path
        if not isinstance(value, list):
            assert ours[path] == (None if value is None else pytest.approx(value, abs=within)), path
            count += 1
    return count
