"""Evaluation: predictions, their metrics exact over ranks, and the prediction set that everything else reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .batch import Batch
from .comm import Comm
from .contracts import EvaluationStream, Loader, Metric, MetricContext, Panel
from .errors import UserError
from .frame import ClassInfo, Encoded, Frame, encode_key
from .overlay import PREDICTIONS, Overlay, PartWriter, finish_overlay, is_overlay, prepare_aside
from .pictures import compare, save_png
from .prediction import Prediction
from .progress import Progress
from .rasters import decoded
from .recipe import Recipe
from .slices import Slices


def build_metrics(recipe: Recipe) -> dict[str, Metric]:
    """The recipe's metrics, each for its own task."""
    out = {}
    for name, chosen in recipe.metrics.items():
        task = chosen.found.declaration.task
        out[name] = chosen.build(MetricContext(task, recipe.classes[task]))
    return out


def figures(recipe: Recipe, results: Mapping[str, Any]) -> dict[str, float | None]:
    """Metric entry -> its one figure, which gates, retention and curves look at."""
    return {name: results[name][chosen.found.declaration.name] for name, chosen in recipe.metrics.items()}


def evaluate(
    predict: Callable[[Batch], list[Prediction]], stream: EvaluationStream, metrics: Mapping[str, Metric], comm: Comm,
    out: Path, about: Mapping[str, Any], panels: int = 0, limit: int | None = None, slices: Slices | None = None,
) -> tuple[dict[str, Any], list[Panel]]:  # fmt: skip
    """Predict a split, write the prediction set to ``out``, and return the results, on every rank, with rank 0's panels.

    Every rank makes the same number of forwards; a filler's predictions count for nothing. ``limit``: batches, for a trial.
    ``slices``, of rank 0, have figures of their own under ``slices``. On rank 0 ``metrics`` end with all ranks' frames.
    """
    chosen: list[Panel] = []
    batches = len(stream) if limit is None else min(limit, len(stream))
    every, of_each = (max(1, batches // panels), -(-panels // max(1, batches))) if panels else (0, 0)
    with PredictionWriter(out, comm) as writer, Progress("evaluating", batches, "batch", shown=comm.is_main) as progress:
        for number, batch in enumerate(stream):
            if number >= batches:
                break
            predictions = predict(batch)
            if not batch.filler:
                _take(predictions, batch, metrics, writer)
                if every and number % every == 0 and comm.is_main:
                    shown = list(zip(predictions, _frames(batch)))[: min(of_each, panels - len(chosen))]
                    chosen += [panel_of(*pair) for pair in shown]
            batch.release()
            progress.advance(number + 1)
        results = _merge(metrics, comm, slices)
        missing = sorted({key for keys in comm.all_gather(list(stream.missing)) for key in keys})
        if missing:
            results["missing_frames"] = missing
        writer.finish({**about, "results": results, "missing_frames": missing})
    return results, chosen


def _take(predictions: list[Prediction], batch: Batch, metrics: Mapping[str, Metric], writer: PredictionWriter) -> None:
    for prediction, frame in zip(predictions, _frames(batch)):
        assert prediction.key == frame.key
        writer.add(prediction)
        for metric in metrics.values():
            metric.update(prediction, frame)


def _frames(batch: Batch) -> list[Frame]:
    assert batch.frames is not None, "an evaluation batch carries its frames"
    return batch.frames


def _merge(metrics: Mapping[str, Metric], comm: Comm, slices: Slices | None) -> dict[str, Any]:
    states = comm.gather({name: metric.state() for name, metric in metrics.items()})

    def join() -> dict[str, Any] | None:
        if states is None:
            return None
        for state in states[1:]:
            for name, metric in metrics.items():
                metric.merge(state[name])
        results = {name: metric.compute() for name, metric in metrics.items()}
        return results | ({"slices": slices.figures(metrics)} if slices and slices.where else {})

    return comm.broadcast(comm.together(join))


def panel_of(prediction: Prediction | None, frame: Frame) -> Panel:
    """The first camera of a frame as a picture with its labels and what a model says of them."""
    name, camera = next(iter(frame.cameras.items()))
    assert camera.image is not None
    image = decode_image(camera.image)
    said = prediction.cameras.get(name) if prediction else None
    return Panel(frame.key, image, decoded(camera), said)


def decode_image(image: Encoded) -> np.ndarray:
    """uint8 [H, W, 3] RGB at full size: for looking at, not for training."""
    pixels = cv2.imdecode(np.frombuffer(image.data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert pixels is not None
    return pixels


class PredictionWriter:
    """A prediction set: an overlay (`drivetrain.Overlay`) of one part a rank that names its run. Written aside, renamed by
    `finish`, which replaces an older prediction set."""

    def __init__(self, folder: Path, comm: Comm):
        self.folder, self.comm = folder, comm

    def __enter__(self) -> PredictionWriter:
        self.aside = self.comm.broadcast(self.comm.together(self._prepare))
        self._part = PartWriter(self.aside, self.comm.rank)
        return self

    def __exit__(self, *_: object) -> None:
        self._part.close()

    def _prepare(self) -> Path | None:
        """On rank 0: an empty folder beside the place. Raises UserError where that holds something else."""
        if not self.comm.is_main:
            return None
        if self.folder.exists() and (not is_overlay(self.folder) or Overlay(self.folder).info["kind"] != PREDICTIONS):
            raise UserError(f"{self.folder} is there already and is no prediction set", remedy="name another place")
        return prepare_aside(self.folder)

    def add(self, prediction: Prediction) -> None:
        self._part.add(prediction.key, prediction.cameras)

    def finish(self, about: Mapping[str, Any]) -> None:
        """Close every rank's part and make the set count; ``about`` holds the recipe's ``classes``."""
        rows = self.comm.gather(self._part.close())
        if rows is not None:
            named = about["classes"]
            classes = {task: [ClassInfo(n, i) for i, n in enumerate(names)] for task, names in named.items()}
            made_from = {name: value for name, value in about.items() if name != "classes"}
            finish_overlay(self.aside, self.folder, rows, PREDICTIONS, classes, made_from)
        self.comm.barrier()


def drawn_classes(recipe: Recipe, loader: Loader) -> dict[str, list[ClassInfo]]:
    """The recipe's classes in the colours of the first validation set, where it has classes of their names."""
    sources = recipe.data_spec_sources("val") or recipe.data_spec_sources("train")
    theirs = loader.open(sources[0].shards).classes
    out = {}
    for task, names in recipe.classes.items():
        colors = {info.name: info.color for info in theirs.get(task, ())}
        out[task] = [ClassInfo(name, number, colors.get(name)) for number, name in enumerate(names)]
    return out


def save_panels(panels: Iterable[Panel], classes: Mapping[str, Sequence[ClassInfo]], folder: Path) -> None:
    """One PNG a panel: picture, truth and prediction side by side."""
    for panel in panels:
        save_png(folder / f"{encode_key(panel.key)}.png", compare(panel, classes))
