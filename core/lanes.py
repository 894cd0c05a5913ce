"""Lanes of one picture: polylines with a class each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass
class Lanes:
    """Lane markings or boundaries of one picture, L of them.

    ``points``: L polylines float32 [K, 2], x y in the picture's own pixels, from near to far, K as each needs; ``names`` L
    class names; ``scores`` float32 [L] in predictions; ``attributes`` L mappings.
    """

    points: list[np.ndarray]
    names: list[str]
    scores: np.ndarray | None = None
    attributes: list[dict[str, Any]] | None = None

    def __post_init__(self):
        self.points = [np.asarray(line, np.float32).reshape(-1, 2) for line in self.points]
        self.names = list(self.names)
        if self.scores is not None:
            self.scores = np.asarray(self.scores, np.float32).reshape(-1)
        for name in ("names", "scores", "attributes"):
            value = getattr(self, name)
            if value is not None and len(value) != len(self):
                raise ValueError(f"Lanes.{name} has {len(value)} entries for {len(self)} lanes")

    def __len__(self) -> int:
        return len(self.points)

    def select(self, index: np.ndarray | Sequence[int]) -> Lanes:
        """The lanes at ``index`` (bool [L] or int [M])."""
        chosen = np.arange(len(self))[index].tolist()
        return Lanes(
            [self.points[i] for i in chosen], [self.names[i] for i in chosen],
            None if self.scores is None else self.scores[chosen],
            None if self.attributes is None else [self.attributes[i] for i in chosen],
        )  # fmt: skip


def lanes_to_json(lanes: Lanes) -> dict[str, Any]:
    """Plain lists, each number as short as a float32 can be said."""
    out: dict[str, Any] = {"points": [_short(line) for line in lanes.points], "names": lanes.names}
    if lanes.scores is not None:
        out["scores"] = _short(lanes.scores)
    return out if lanes.attributes is None else {**out, "attributes": lanes.attributes}


def lanes_from_json(values: Mapping[str, Any]) -> Lanes:
    return Lanes(values["points"], values["names"], values.get("scores"), values.get("attributes"))


def _short(numbers: np.ndarray) -> list[Any]:
    return numbers.astype(str).astype(float).tolist()
