"""A run's model for other runtimes: ONNX or a torch.export program, held against the model itself on real pictures."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .batch import normalise_images
from .errors import UserError
from .files import write_aside, write_json
from .model import Model
from .predictor import Predictor
from .train import data_spec

FORMATS = ("onnx", "torch-export")
Run = Callable[[Tensor], list[np.ndarray]]


def export_model(predictor: Predictor, format: str, out: Path, size: tuple[int, int] | None = None, frames: int = 4,
                 tolerance: float = 1e-4) -> dict[str, Any]:  # fmt: skip
    """Write the model to ``out`` and what must be known of it to ``out`` + ``.json``, which is returned.

    The graph takes float32 [1, 3, H, W]: pictures of ``size`` (height, width), by default that of the recipe's validation
    pictures. On ``frames`` of them each output may differ from the eager model's by ``tolerance`` of the largest number in
    it (of 1 where that is smaller). Raises UserError where it differs by more, where the model has no export or the extra
    is missing; then nothing is written."""
    check_runtime(format)
    model = predictor.model.cpu().eval()
    module = _module_of(model)
    pictures = [_resized(one, size) for one in validation_pictures(predictor, frames)]
    if not pictures:
        raise UserError("the recipe's validation set has no pictures to check the export on", remedy="name another data.val")
    inputs = [normalise_images(one, *model.normalisation()).contiguous() for one in pictures]
    with torch.no_grad():
        said = [module(one) for one in inputs]
    eager, names = [_arrays(one) for one in said], output_names(module, said[0])
    differences: dict[str, float] = {}

    def write(aside: str) -> None:
        _write(format, module, inputs[0], names, aside)
        differences.update(_differences(_OPEN[format](aside), inputs, eager, names, tolerance))

    write_aside(out, write)
    about = _about(predictor, model, format, inputs[0], names, eager[0])
    about["check"] = {"frames": len(inputs), "max_abs_difference": differences, "tolerance": tolerance}
    write_json(out.with_name(out.name + ".json"), about)
    return about


def check_runtime(format: str) -> None:
    """Raises UserError where what writes and checks ``format`` is not installed."""
    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if format == "onnx" and find_spec(name) is None]
    if missing:
        raise UserError(f"ONNX needs {', '.join(missing)}", remedy="pip install 'drivetrain[onnx]'")


def validation_pictures(predictor: Predictor, count: int) -> list[Tensor]:
    """uint8 [1, H, W, 3]: the first pictures of the recipe's validation set after its transforms."""
    stream = predictor.stream(data_spec(predictor.recipe, "val"))
    found: list[Tensor] = []
    try:
        for batch in islice(stream, count):
            found += [] if batch.filler else list(batch.camera.images.clone().split(1))
            batch.release()
    finally:
        stream.close()
    return found[:count]


def _resized(picture: Tensor, size: tuple[int, int] | None) -> Tensor:
    if size is None or size == tuple(picture.shape[1:3]):
        return picture
    planes = F.interpolate(picture.permute(0, 3, 1, 2).float(), size, mode="bilinear", antialias=True)
    return planes.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _module_of(model: Model) -> nn.Module:
    """What is exported."""
    try:
        return model.export_module()
    except NotImplementedError as error:
        raise UserError(f"this model cannot be exported: {error}", remedy="its plugin must implement export_module") from error


def output_names(module: nn.Module, said: Any) -> list[str]:
    """What the outputs are called: as the module's ``outputs`` tell, else by the keys of what it ``said``, else by number."""
    if outputs := getattr(module, "outputs", ()):
        return list(outputs)
    return list(said) if isinstance(said, Mapping) else [f"output_{n}" for n in range(len(_arrays(said)))]


def _arrays(out: Any) -> list[np.ndarray]:
    tensors = list(out.values()) if isinstance(out, Mapping) else [out] if isinstance(out, Tensor) else list(out)
    return [tensor.detach().numpy() for tensor in tensors]


# ---------------------------------------------------------------- formats


def _write(format: str, module: nn.Module, example: Tensor, names: Sequence[str], path: str) -> None:
    """Raises UserError where torch cannot follow the model, whose exporters have no error of their own for that."""
    try:
        # Torch's exporters tell of their own deprecations, and print the whole graph where they cannot go on.
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            _WRITE[format](module, example, names, path)
    except Exception as error:
        why = next(iter(str(error.__cause__ or error).strip().splitlines()), type(error).__name__)
        raise UserError(f"torch.export cannot follow this model: {why}",
                        remedy="a suppression inside it, whose number of boxes is known at run time only, is often why:\n"
                        "export_module must leave that to who runs the graph, as road_detector's does") from error  # fmt: skip


def _write_onnx(module: nn.Module, example: Tensor, names: Sequence[str], path: str) -> None:
    torch.onnx.export(module, (example,), path, input_names=["images"], output_names=list(names), dynamo=True,
                      external_data=False, verbose=False)  # fmt: skip


def _write_program(module: nn.Module, example: Tensor, names: Sequence[str], path: str) -> None:
    with open(path, "wb") as file:  # by its name it would want .pt2
        torch.export.save(torch.export.export(module, (example,)), file)


def _open_onnx(path: str) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images.numpy()})


def _open_program(path: str) -> Run:
    with open(path, "rb") as file:
        module = torch.export.load(file).module()
    return lambda images: _arrays(module(images))


_WRITE = {"onnx": _write_onnx, "torch-export": _write_program}
_OPEN: dict[str, Callable[[str], Run]] = {"onnx": _open_onnx, "torch-export": _open_program}


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
        "run": predictor.folder.info()["id"], "step": predictor.checkpoint.step, "format": format,
        "model": predictor.recipe.plugins["model"].found.declaration.name, "torch": torch.__version__,
        "tasks": list(predictor.recipe.tasks), "classes": {t: list(names) for t, names in predictor.recipe.classes.items()},
        "input": {"name": "images", "shape": list(example.shape), "dtype": "float32", "channels": "RGB",
                  "normalisation": {"formula": "(x / 255 - mean) / std", "mean": list(mean), "std": list(std)}},
        "outputs": [{"name": name, "shape": list(one.shape), "dtype": str(one.dtype)} for name, one in zip(names, outputs)],
    }  # fmt: skip
