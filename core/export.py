"""A run's model for other runtimes: ONNX or a torch.export program, held against the model itself on real pictures."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .batch import normalise_images
from .building import data_spec
from .errors import UserError
from .exported import Run, check_runtime, open_graph
from .files import write_aside, write_json
from .model import Model, named_outputs
from .predictor import Predictor

FORMATS = ("onnx", "torch-export")


def export_model(predictor: Predictor, format: str, out: Path, size: tuple[int, int] | None = None, frames: int = 4,
                 tolerance: float = 1e-4) -> dict[str, Any]:  # fmt: skip
    """Write the model to ``out`` and what must be known of it to ``out`` + ``.json``, which is returned.

    The graph takes float32 [1, 3, H, W]: pictures of ``size`` (height, width), by default that of the recipe's validation
    pictures. On ``frames`` of them each output may differ from the eager model's by ``tolerance`` of the largest number in
    it (of 1 where that is smaller). Raises UserError where it differs by more, where the model has no export or the extra
    is missing; then nothing is written."""
    check_runtime(format)
    model = predictor.model.cpu().eval()
    module = module_of(model)
    inputs = list(validation_inputs(predictor, frames, size))
    if not inputs:
        raise UserError("the recipe's validation set has no pictures to check the export on", remedy="name another data.val")
    with torch.no_grad():
        said = [named_outputs(module, module(one)) for one in inputs]
    eager, names = [[value.numpy() for value in one.values()] for one in said], list(said[0])
    graph = _graph(format, module, inputs[0], names)
    differences: dict[str, float] = {}

    def write(aside: str) -> None:
        Path(aside).write_bytes(graph)
        differences.update(_differences(open_graph(format, Path(aside)), inputs, eager, names, tolerance))

    with writing(out):
        write_aside(out, write)
        about = _about(predictor, model, format, inputs[0], names, eager[0])
        about["check"] = {"frames": len(inputs), "max_abs_difference": differences, "tolerance": tolerance}
        write_json(out.with_name(out.name + ".json"), about)
    return about


@contextmanager
def writing(file: Path) -> Iterator[None]:
    """Raises UserError where ``file`` cannot be written."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{file} cannot be written: {error.strerror or error}",
                        remedy="make room, or name another place") from error  # fmt: skip


def validation_inputs(predictor: Predictor, count: int, size: tuple[int, int] | None = None, spread: bool = False
                      ) -> Iterator[Tensor]:  # fmt: skip
    """float32 [1, 3, H, W], normalised: the first pictures of the recipe's validation set after its transforms, or ``spread``
    over it; stretched to ``size`` (height, width), by default the first one's."""
    stream = predictor.stream(data_spec(predictor.recipe, "val"))
    over, taken = len(stream) if spread else 1, 0
    try:
        for number, batch in enumerate(stream, start=1):
            due = min(count, -(-count * number // over)) - taken
            pictures = () if batch.filler else batch.camera.images[:due].clone().split(1)
            batch.release()
            for picture in pictures:
                size = size or (picture.shape[1], picture.shape[2])
                yield normalise_images(_resized(picture, size), *predictor.model.normalisation()).contiguous()
            taken += len(pictures)
            if taken == count:
                break
    finally:
        stream.close()


def _resized(picture: Tensor, size: tuple[int, int]) -> Tensor:
    if size == tuple(picture.shape[1:3]):
        return picture
    planes = F.interpolate(picture.permute(0, 3, 1, 2).float(), size, mode="bilinear", antialias=True)
    return planes.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def module_of(model: Model) -> nn.Module:
    """What is exported."""
    try:
        return model.export_module()
    except NotImplementedError as error:
        raise UserError(f"this model cannot be exported: {error}", remedy="road_detector, road_multitask and torchvision's "
                        "segmentation networks can; a model of a plugin must have export_module") from error  # fmt: skip


# ---------------------------------------------------------------- formats


def _graph(format: str, module: nn.Module, example: Tensor, names: Sequence[str]) -> bytes:
    """What the file holds. Raises UserError where torch cannot follow the model: its exporters have no error of their own for
    that."""
    try:
        # Torch's exporters tell of their own deprecations, and print the whole graph where they cannot go on.
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            return _GRAPH[format](module, example, names)
    except Exception as error:
        why = next(iter(str(error.__cause__ or error).strip().splitlines()), type(error).__name__)
        raise UserError(f"torch.export cannot follow this model: {why}",
                        remedy="a suppression inside it, whose number of boxes is known at run time only, is often why:\n"
                        "export_module must leave that to who runs the graph, as road_detector's does") from error  # fmt: skip


def _onnx(module: nn.Module, example: Tensor, names: Sequence[str]) -> bytes:
    program = torch.onnx.export(module, (example,), input_names=["images"], output_names=list(names), dynamo=True,
                                verbose=False)  # fmt: skip
    assert program is not None
    return program.model_proto.SerializeToString()


def _program(module: nn.Module, example: Tensor, names: Sequence[str]) -> bytes:
    file = io.BytesIO()
    torch.export.save(torch.export.export(module, (example,)), file)
    return file.getvalue()


_GRAPH = {"onnx": _onnx, "torch-export": _program}


def _differences(run: Run, inputs: Sequence[Tensor], eager: Sequence[Sequence[np.ndarray]], names: Sequence[str],
                 tolerance: float) -> dict[str, float]:  # fmt: skip
    """Output -> the largest absolute difference. Raises UserError above the tolerance."""
    worst = dict.fromkeys(names, 0.0)
    for images, expected in zip(inputs, eager):
        for name, theirs, ours in zip(names, run(images), expected, strict=True):
            if theirs.shape != ours.shape:
                raise UserError(f"the export gives {name} {list(theirs.shape)}, the model {list(ours.shape)}")
            found = float(np.abs(theirs.astype(np.float64) - ours).max(initial=0))
            limit = tolerance * max(1.0, float(np.abs(ours).max(initial=0)))
            if not found <= limit:
                raise UserError(f"the export is not the model: {name} differs by {found:.3g}, at most {limit:.3g} is allowed",
                                remedy="allow more with --tolerance if that is good enough")  # fmt: skip
            worst[name] = max(worst[name], found)
    return worst


def _about(predictor: Predictor, model: Model, format: str, example: Tensor, names: Sequence[str],
           outputs: Sequence[np.ndarray]) -> dict[str, Any]:  # fmt: skip
    mean, std = model.normalisation()
    return {
        "run": predictor.folder.info()["id"], "step": predictor.checkpoint.step, "weights": predictor.weights,
        "format": format, "model": predictor.name, "torch": torch.__version__,
        "tasks": list(predictor.recipe.tasks), "classes": {t: list(names) for t, names in predictor.recipe.classes.items()},
        "input": {"name": "images", "shape": list(example.shape), "dtype": "float32", "channels": "RGB",
                  "normalisation": {"formula": "(x / 255 - mean) / std", "mean": list(mean), "std": list(std)}},
        "outputs": [{"name": name, "shape": list(one.shape), "dtype": str(one.dtype)} for name, one in zip(names, outputs)],
    }  # fmt: skip
