"""The lines for NVIDIA's tools."""

from __future__ import annotations

from pathlib import Path

from drivetrain.tensorrt import engine_lines

FILE = Path("a/my model.onnx")


def test_half_precision_needs_no_calibration():
    assert engine_lines(FILE, None) == [
        "python -m modelopt.onnx.autocast --onnx_path 'a/my model.onnx' --keep_io_types --output_path 'a/my model.fp16.onnx'",
        "trtexec --onnx='a/my model.fp16.onnx' --saveEngine='a/my model.fp16.engine' --stronglyTyped",
    ]


def test_eight_bits_are_calibrated():
    assert engine_lines(FILE, Path("out/c.npy"))[2:] == [
        "python -m modelopt.onnx.quantization --onnx_path 'a/my model.onnx' --quantize_mode int8"
        " --calibration_data_path out/c.npy --output_path 'a/my model.int8.onnx'",
        "trtexec --onnx='a/my model.int8.onnx' --saveEngine='a/my model.int8.engine' --stronglyTyped",
    ]
