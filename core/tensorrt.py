"""What NVIDIA's tools need of an export: pictures to calibrate on, and the lines that build an engine.

The lines follow NVIDIA's "Migrating trtexec Usage from TensorRT 10.x to 11.x" and ModelOpt's guides "ONNX Quantization" and
"AutoCast (ONNX)": since TensorRT 11 an engine's types are those of its file, and flags such as --fp16 and --int8 are gone."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .export import validation_inputs, writing
from .files import write_aside
from .predictor import Predictor


def write_calibration(predictor: Predictor, file: Path, size: tuple[int, int], count: int) -> int:
    """Write up to ``count`` pictures, spread over the validation set, as the graph takes them: a .npy of float32 [N, 3, H, W].
    Returns N. Raises UserError where ``file`` cannot be written."""
    written = 0

    def write(aside: str) -> None:
        nonlocal written
        with open(aside, "wb") as out:
            _head(out, count, size)
            for picture in validation_inputs(predictor, count, size, spread=True):
                out.write(picture.numpy().tobytes())
                written += 1
            out.seek(0)
            _head(out, written, size)  # as long as before: numpy leaves room for another number of rows

    with writing(file):
        write_aside(file, write)
    return written


def _head(out: BinaryIO, rows: int, size: tuple[int, int]) -> None:
    np.lib.format.write_array_header_1_0(out, {"descr": "<f4", "fortran_order": False, "shape": (rows, 3, *size)})


def engine_lines(file: Path, calibration: Path | None) -> list[str]:
    """Commands that make of an ONNX ``file`` one in half precision and, with ``calibration``, one in 8 bits, and of each an
    engine. The graph has one fixed shape, which trtexec reads from it."""
    half, whole = file.with_suffix(".fp16.onnx"), file.with_suffix(".int8.onnx")
    cast = f"python -m modelopt.onnx.autocast --onnx_path {_quoted(file)} --keep_io_types --output_path {_quoted(half)}"
    if calibration is None:
        return [cast, _engine(half)]
    options = f"--quantize_mode int8 --calibration_data_path {_quoted(calibration)} --output_path {_quoted(whole)}"
    quantise = f"python -m modelopt.onnx.quantization --onnx_path {_quoted(file)} {options}"
    return [cast, _engine(half), quantise, _engine(whole)]


def _engine(file: Path) -> str:
    return f"trtexec --onnx={_quoted(file)} --saveEngine={_quoted(file.with_suffix('.engine'))} --stronglyTyped"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
