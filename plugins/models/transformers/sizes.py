"""The published sizes, as fields of transformers' configurations."""

from __future__ import annotations

from typing import Any


def _backbone(depths: list[int], widths: list[int], layer: str) -> dict[str, Any]:
    return {"model_type": "rt_detr_resnet", "depths": depths, "hidden_sizes": widths, "layer_type": layer,
            "out_indices": [2, 3, 4]}  # fmt: skip


_BASIC, _WIDE = [64, 128, 256, 512], [256, 512, 1024, 2048]
_LIGHT = {"encoder_in_channels": _BASIC[1:], "hidden_expansion": 0.5}

RT_DETR: dict[str, dict[str, Any]] = {
    "r18": {"backbone_config": _backbone([2, 2, 2, 2], _BASIC, "basic"), **_LIGHT, "decoder_layers": 3},
    "r34": {"backbone_config": _backbone([3, 4, 6, 3], _BASIC, "basic"), **_LIGHT, "decoder_layers": 4},
    "r50": {"backbone_config": _backbone([3, 4, 6, 3], _WIDE, "bottleneck")},
    "r101": {
        "backbone_config": _backbone([3, 4, 23, 3], _WIDE, "bottleneck"),
        "encoder_hidden_dim": 384, "encoder_ffn_dim": 2048, "decoder_in_channels": [384, 384, 384],
    },
}  # fmt: skip
"""Zhao et al., DETRs Beat YOLOs on Real-time Object Detection (2024), table 2: 20, 31, 42 and 76 million parameters."""

_NARROW, _FULL = [32, 64, 160, 256], [64, 128, 320, 512]

SEGFORMER: dict[str, dict[str, Any]] = {
    "b0": {"depths": [2, 2, 2, 2], "hidden_sizes": _NARROW, "decoder_hidden_size": 256},
    "b1": {"depths": [2, 2, 2, 2], "hidden_sizes": _FULL, "decoder_hidden_size": 256},
    "b2": {"depths": [3, 4, 6, 3], "hidden_sizes": _FULL, "decoder_hidden_size": 768},
    "b3": {"depths": [3, 4, 18, 3], "hidden_sizes": _FULL, "decoder_hidden_size": 768},
    "b4": {"depths": [3, 8, 27, 3], "hidden_sizes": _FULL, "decoder_hidden_size": 768},
    "b5": {"depths": [3, 6, 40, 3], "hidden_sizes": _FULL, "decoder_hidden_size": 768},
}
"""Xie et al., SegFormer (2021), tables 1 and 6: 3.8, 13.7, 27.5, 47.3, 64.1 and 84.7 million parameters."""
