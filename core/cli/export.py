"""``drivetrain export``: a run's model for other runtimes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..manager import get_manager
from .train import say

if TYPE_CHECKING:
    from ..predictor import Predictor


def export(
    run: Path = typer.Argument(..., help="A run's folder."),
    format: str = typer.Option(..., "--format", help="onnx (needs the extra onnx) or torch-export."),
    out: Path = typer.Option(..., "--out", help="The file that is written; what must be known of it goes to FILE.json."),
    size: str = typer.Option(None, "--size", help="HEIGHTxWIDTH of its pictures; the validation pictures' by default."),
    checkpoint: str = typer.Option("newest", "--checkpoint", help="newest, best, or the number of a step."),
    raw: bool = typer.Option(False, "--raw", help="The weights as they were trained, not their running mean (ema)."),
    frames: int = typer.Option(4, "--frames", min=1, help="Validation pictures that it is checked on."),
    calibration: int = typer.Option(0, "--calibration", min=0, help="Up to N validation pictures to calibrate 8 bits on."),
    tolerance: float = typer.Option(1e-4, "--tolerance", help="Allowed difference, of an output's largest number."),
) -> None:
    """Write a model as ONNX or torch.export program, and hold it against the model itself on real pictures."""
    from ..comm import Comm
    from ..errors import UserError, near_matches
    from ..export import FORMATS, export_model
    from ..exported import check_runtime
    from ..predictor import Predictor
    from ..run import RunFolder
    from ..tensorrt import engine_lines

    if format not in FORMATS:
        raise UserError(f"no format {format!r}", near=near_matches(format, FORMATS), remedy=f"formats: {', '.join(FORMATS)}")
    wanted = None if size is None else _size(size)
    check_runtime(format)
    if out.is_dir():
        raise UserError(f"--out {out}: a folder", remedy="name a file")
    comm = Comm.start()
    if comm.world > 1:
        raise UserError("an export is one process's work", remedy="run it without a launcher")
    predictor = Predictor(RunFolder(run), comm, get_manager(), checkpoint, say, raw)
    out.parent.mkdir(parents=True, exist_ok=True)
    about = export_model(predictor, format, out, wanted, frames, tolerance)
    pictures = _calibration(predictor, about, out, calibration) if calibration else None
    for one in about["outputs"]:
        print(f"{one['name']} {one['shape']} differs by {about['check']['max_abs_difference'][one['name']]:.3g} at most")
    if format == "onnx":
        print("\n".join(engine_lines(out, pictures)))
    say(f"{out}: {about['model']} after step {about['step']}, checked on {about['check']['frames']} pictures; see {out}.json")
    comm.close()


def _calibration(predictor: Predictor, about: Mapping[str, Any], out: Path, count: int) -> Path:
    """Where they were written."""
    from ..tensorrt import write_calibration

    file = out.with_name(f"{out.name}.calibration.npy")
    height, width = about["input"]["shape"][2:]
    say(f"{file}: {write_calibration(predictor, file, (height, width), count)} pictures, spread over the validation set")
    return file


def _size(text: str) -> tuple[int, int]:
    from ..errors import UserError

    if not (found := re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)):
        raise UserError(f"--size {text}: expected HEIGHTxWIDTH in pixels, as 384x640")
    return int(found[1]), int(found[2])
