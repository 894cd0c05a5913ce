"""An exported file in its model's place: whether it is this model's, and what it predicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .batch import Batch, normalise_images
from .errors import DataError, UserError
from .layouts import read_json
from .model import values_of
from .prediction import Prediction
from .predictor import Predictor

Run = Callable[[Tensor], list[np.ndarray]]
"""float32 [1, 3, H, W] to the outputs, in their order."""


class ExportedModel:
    """A file that ``predictor``'s model was exported to, on the CPU: called with a batch, it predicts what the model predicts.

    The graph sees one picture at a time, without the batch's padding; one that is smaller than the graph's is padded to the
    right and below, as in a batch. Raises UserError where the file is of something else than ``predictor``, where what runs
    it is not installed, and for a larger picture."""

    def __init__(self, file: Path, predictor: Predictor, threads: int = 0):
        self.file, self._model = file, predictor.model
        self.about = read_about(file)
        check_runtime(self.about["format"], ("onnxruntime",))
        _check_origin(file, self.about, predictor)
        self.size = tuple(self.about["input"]["shape"][2:])
        self._names = [one["name"] for one in self.about["outputs"]]
        self._run = open_graph(self.about["format"], file, threads)

    def __call__(self, batch: Batch) -> list[Prediction]:
        return [one for index in range(len(batch)) for one in self._predict(self._alone(batch, index))]

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Of float32 [1, 3, H, W], normalised."""
        try:
            said = self._run(images)
            return {name: torch.from_numpy(value) for name, value in zip(self._names, said, strict=True)}
        except Exception as error:  # of the runtime's own kinds
            raise DataError(f"is not what {self.file.name}.json tells: {_first_line(error)}", where=str(self.file)) from error

    def _predict(self, alone: Batch) -> list[Prediction]:
        images = normalise_images(alone.camera.images, *self._model.normalisation()).contiguous()
        try:
            return self._model.predict_from(self.outputs(images), alone)
        except NotImplementedError as error:
            raise UserError(str(error), remedy="its plugin must implement predict_from") from error

    def _alone(self, batch: Batch, index: int) -> Batch:
        camera = batch.camera.map(lambda t: t[index : index + 1].cpu())
        (height, width), (most_high, most_wide) = camera.sizes[0].tolist(), self.size
        if height > most_high or width > most_wide:
            raise UserError(f"{self.file} takes pictures of {most_high}x{most_wide}, {batch.keys[index]} has {height}x{width}",
                            remedy=f"export it again with --size {height}x{width}, or that of the largest picture")  # fmt: skip
        padding = (0, 0, 0, most_wide - width, 0, most_high - height)
        camera = replace(camera, images=F.pad(camera.images[:, :height, :width], padding))
        return Batch([batch.keys[index]], batch.positions[index : index + 1], {batch.camera_name: camera})


def read_about(file: Path) -> dict[str, Any]:
    """What `drivetrain.export.export_model` wrote beside ``file``. Raises UserError where the file or that is missing, or is
    something else."""
    if not file.is_file():
        raise UserError(f"there is no file {file}", remedy="make it: drivetrain export RUN --format onnx --out FILE")
    beside = file.with_name(file.name + ".json")
    if not beside.is_file():
        raise DataError(f"there is no {beside.name} beside it, which tells what it takes and gives", where=str(file),
                        remedy="`drivetrain export` writes both; for a file made of an export, copy that one's")  # fmt: skip
    about = read_json(beside)
    if not isinstance(about, dict) or not {"format", "run", "step", "classes", "input", "outputs"} <= about.keys():
        raise DataError("is not what `drivetrain export` writes beside a file", where=str(beside))
    return about


def _check_origin(file: Path, about: Mapping[str, Any], predictor: Predictor) -> None:
    for what, ours, remedy in (
        ("model", predictor.name, ""),
        ("classes", {task: list(names) for task, names in predictor.recipe.classes.items()}, ""),
        ("run", predictor.folder.info()["id"], f"export {predictor.folder.path}"),
        ("step", predictor.checkpoint.step, f"say --checkpoint {about['step']}, or export it again"),
        ("weights", predictor.weights, "--raw says which: of both, or of neither"),
    ):
        if (theirs := about.get(what)) != ours:
            raise UserError(f"{file} was exported of something else: {what} {_brief(theirs)}, here {_brief(ours)}",
                            remedy=remedy or None)  # fmt: skip


def _brief(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{task}: {', '.join(names) or 'none'}" for task, names in value.items())
    return str(value)


# ---------------------------------------------------------------- runtimes


def check_runtime(format: str, packages: Sequence[str] = ("onnx", "onnxruntime", "onnxscript")) -> None:
    """Raises UserError where one of the ``packages`` that ONNX needs is not installed."""
    missing = [name for name in packages if format == "onnx" and find_spec(name) is None]
    if missing:
        raise UserError(f"ONNX needs {', '.join(missing)}", remedy="pip install 'drivetrain[onnx]'")


def open_graph(format: str, file: Path, threads: int = 0) -> Run:
    """What runs an exported file on the CPU, on ``threads``; 0: as many as its runtime likes. Raises DataError for a file that
    it does not take."""
    try:
        return _OPEN[format](str(file), threads)
    except Exception as error:  # each runtime has its own, and no base of them
        raise DataError(f"cannot be opened as {format}: {_first_line(error)}", where=str(file)) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _open_onnx(path: str, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images.numpy()})


def _open_program(path: str, threads: int) -> Run:
    with open(path, "rb") as file:
        module = torch.export.load(file).module()

    def run(images: Tensor) -> list[np.ndarray]:
        with torch.no_grad():
            return [value.numpy() for value in values_of(module(images))]

    return run


_OPEN: dict[str, Callable[[str, int], Run]] = {"onnx": _open_onnx, "torch-export": _open_program}
