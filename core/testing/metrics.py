"""What every metric must keep: it is exact over any share of the frames among ranks."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Sequence
from typing import Any

from ..contracts import Metric
from ..frame import Camera, Frame
from ..prediction import Prediction

Pair = tuple[Prediction, Frame]


def check_metric(build: Callable[[], Metric], pairs: Sequence[Pair], name: str) -> dict[str, Any]:
    """Hold a metric to its contract and return its figures over all ``pairs``.

    ``build`` makes a new, empty metric; ``pairs`` are (prediction, labelled frame) with keys of their own, a handful;
    ``name`` is the declaration's. Checked: the figures are JSON and hold ``name``, None where nothing was seen; frames
    without labels change nothing; the states of any shares, pickled as between ranks, merge to what one rank finds.
    Raises AssertionError saying which law is broken.
    """
    nothing = _figures(build(), name)
    assert nothing[name] is None, f"{name}: without a frame there is no figure, got {nothing[name]!r}"
    unlabelled = build()
    for prediction, truth in pairs:
        unlabelled.update(prediction, _without_labels(truth))
    assert _figures(unlabelled, name) == nothing, f"{name}: frames without labels of the task must be passed over"
    whole = _figures(_updated(build(), pairs), name)
    for shares in _shares(pairs):
        merged = build()
        for share in shares:
            merged.merge(pickle.loads(pickle.dumps(_updated(build(), share).state())))
        sizes = [len(share) for share in shares]
        assert _figures(merged, name) == whole, f"{name}: merged over shares of {sizes} frames it differs from all at once"
    _check_state_is_a_snapshot(build, pairs, name)
    return whole


def _updated(metric: Metric, pairs: Sequence[Pair]) -> Metric:
    for prediction, truth in pairs:
        metric.update(prediction, truth)
    return metric


def _figures(metric: Metric, name: str) -> dict[str, Any]:
    figures = metric.compute()
    assert name in figures, f"{name}: compute() gives {sorted(figures)}, expected the figure under {name!r}"
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures, f"{name}: compute() is not plain JSON"
    return figures


def _without_labels(frame: Frame) -> Frame:
    cameras = {name: Camera(width=c.width, height=c.height) for name, c in frame.cameras.items()}
    return Frame(frame.key, frame.scene, dict(frame.tags), cameras)


def _shares(pairs: Sequence[Pair]):
    """Every cut in two, an empty share included, and a deal to three ranks."""
    yield from ((pairs[:cut], pairs[cut:]) for cut in range(len(pairs) + 1))
    yield pairs[::3], pairs[1::3], pairs[2::3]


def _check_state_is_a_snapshot(build: Callable[[], Metric], pairs: Sequence[Pair], name: str) -> None:
    metric = _updated(build(), pairs[:1])
    before, kept = _figures(metric, name), metric.state()
    _updated(metric, pairs[1:])
    restored = build()
    restored.merge(kept)
    assert _figures(restored, name) == before, f"{name}: a state that was taken must not change with later updates"
