"""Pseudo-labels: what a model is sure of, as labels that lie over the frames that nobody has labelled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .contracts import ShardSet
from .errors import UserError, near_matches
from .frame import Boxes, Camera
from .overlay import LABELS, Overlay, OverlayWriter

TASK = "object_detection"
_CAN_BE_DOUBTED = 0.5  # of a class's least score, where the user says nothing else


@dataclass(frozen=True)
class Scores:
    """From which score on a box of a class is a label (``least``), and from which it is ignored (``doubted``)."""

    least: Mapping[str, float]
    doubted: Mapping[str, float]

    @staticmethod
    def of(least: Sequence[str], doubted: Sequence[str], classes: Sequence[str]) -> Scores:
        """From ``car=.6`` each, or ``.6`` for all ``classes``. Raises UserError."""
        if not classes:
            raise UserError("the run predicts no boxes, and only they have scores",
                            remedy="a prediction set is an overlay itself: name OUT/predictions in the source")  # fmt: skip
        if not least:
            raise UserError(
                "--overlay needs a score from which on a box is a label", remedy="--min-score car=.6, or .6 for all"
            )
        wanted = _scores("--min-score", least, classes)
        given = _scores("--ignore-score", doubted, tuple(wanted))
        below = {name: given.get(name, _CAN_BE_DOUBTED * score) for name, score in wanted.items()}
        for name in wanted:
            if below[name] > wanted[name]:
                raise UserError(f"--ignore-score {name}={below[name]:g} is above its --min-score {wanted[name]:g}")
        return Scores(wanted, below)


def _scores(option: str, texts: Sequence[str], classes: Sequence[str]) -> dict[str, float]:
    out: dict[str, float] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            score = float(number)
        except ValueError:
            score = float("nan")
        if not 0 <= score <= 1:
            raise UserError(f"{option} {text}: expected CLASS=SCORE or SCORE, a number from 0 to 1")
        if name and name not in classes:
            raise UserError(f"{option} {text}: there is no class {name!r}", near=near_matches(name, classes),
                            remedy=f"classes: {', '.join(classes)}")  # fmt: skip
        out = {**out, name: score} if name else {**dict.fromkeys(classes, score), **out}
    return out


def pseudo_labels(boxes: Boxes, scores: Scores) -> Camera:
    """Boxes of the named classes: those that are sure enough as labels, doubtful ones ignored, the others left out.

    What a detector half believes is neither an object nor background, so it teaches nothing (as between the two thresholds
    of Li et al., Rethinking Pseudo Labels for Semi-Supervised Object Detection, 2022); of classes that are not named nobody
    has looked, so that their absence teaches nothing either."""
    assert boxes.scores is not None, "predicted boxes have scores"
    never = float("inf")
    sure = boxes.scores >= np.array([scores.least.get(name, never) for name in boxes.names], np.float32)
    doubtful = ~sure & (boxes.scores >= np.array([scores.doubted.get(name, never) for name in boxes.names], np.float32))
    chosen = Boxes(boxes.xyxy, boxes.names, ignore=doubtful, scores=boxes.scores).select(sure | doubtful)
    return Camera(chosen, labelled_classes={TASK: tuple(scores.least)})


def write_pseudo_labels(shards: ShardSet, overlay: Overlay, out: Path, scores: Scores, say: Callable[[str], None]) -> None:
    """Make the boxes of the prediction set ``overlay`` labels over ``shards``; the overlay at ``out`` names the run."""
    labels = ignored = 0
    with OverlayWriter(out) as writer:
        for key in overlay.keys():  # noqa: SIM118
            said = overlay.labels(key) or {}
            cameras = {name: pseudo_labels(one.boxes, scores) for name, one in said.items() if one.boxes is not None}
            for boxes in (one.boxes for one in cameras.values()):
                assert boxes is not None and boxes.ignore is not None
                ignored, labels = ignored + int(boxes.ignore.sum()), labels + int((~boxes.ignore).sum())
            writer.add(key, cameras)
        made_from = {name: overlay.info["made_from"][name] for name in ("run", "step")}
        made_from |= {"min_score": dict(scores.least), "ignore_score": dict(scores.doubted)}
        classes = [info for info in overlay.classes[TASK] if info.name in scores.least]
        writer.finish(LABELS, {TASK: classes}, made_from, shards.info)
    say(f"{out}: {labels} boxes are labels, {ignored} are ignored, in {len(overlay)} frames")
