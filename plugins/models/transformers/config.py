"""Settings of transformers' models, and their published sizes as fields of transformers' configurations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from drivetrain import MaskLossConfig, PluginConfig

Fields = dict[str, Any]


class ArchitectureConfig(PluginConfig):
    """What is built: a published size or a saved configuration, and the fields in which this model differs from it."""

    kind: ClassVar[str]
    """Transformers' model_type."""
    smallest: ClassVar[str]

    size: str | None = None
    folder: str | Fields | None = Field(
        None,
        description="a folder written by save_pretrained, whose config.json takes the size's place (the run keeps what is "
        "written there); its weights are read with init_from",
    )
    config: Fields = Field({}, description="fields of transformers' configuration that are to differ; mappings are merged")

    @model_validator(mode="before")
    @classmethod
    def _one_origin(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        if given.get("size") is not None and given.get("folder") is not None:
            raise ValueError("size and folder are two architectures: leave one out")
        has_one = given.get("size") is not None or given.get("folder") is not None
        return given if has_one else {**given, "size": cls.smallest}

    @field_validator("folder")
    @classmethod
    def _as_written(cls, folder: str | Fields | None) -> Fields | None:
        fields = _read(Path(folder).expanduser()) if isinstance(folder, str) else folder
        if fields is not None and fields.get("model_type") != cls.kind:
            raise ValueError(f"its config.json is of a model {fields.get('model_type')!r}, expected {cls.kind!r}")
        return fields


class RTDetrConfig(ArchitectureConfig):
    kind = "rt_detr"
    smallest = "r18"

    size: Literal["r18", "r34", "r50", "r101"] | None = Field(None, description="as published; null: r18, or the folder's")
    score_threshold: float = Field(0.01, ge=0, lt=1, description="detections below it are dropped")
    detections_per_image: int = Field(100, gt=0, description="the best of a picture that are kept")


class SegformerConfig(ArchitectureConfig, MaskLossConfig):
    kind = "segformer"
    smallest = "b0"

    size: Literal["b0", "b1", "b2", "b3", "b4", "b5"] | None = Field(
        None, description="as published; null: b0, or the folder's"
    )


def _read(folder: Path) -> Fields:
    """Raises ValueError where there is no configuration, or it does not read."""
    file = folder / "config.json"
    if not file.is_file():
        raise ValueError(f"{file} is not there: expected a folder written by save_pretrained")
    try:
        fields = json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file} does not read: {error}") from error
    if not isinstance(fields, dict):
        raise ValueError(f"{file} holds no mapping")
    return fields
