"""What a folder is converted from, and how; a half-written set goes on only with an equal plan."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from drivetrain import DataError

from .shards import PLAN_FILE, TEMPORARY, WORK_FOLDER, write_atomically


@dataclass(frozen=True)
class Plan:
    """``reencode``: ``jpg:QUALITY`` or ``png``, None for pictures as they are; ``resize``: ``WIDTHxHEIGHT`` or None."""

    dataset: str
    split: str
    samples: int
    samples_per_shard: int
    reencode: str | None = None
    resize: str | None = None

    @property
    def shards(self) -> int:
        return -(-self.samples // self.samples_per_shard)

    def difference(self, other: Mapping[str, Any]) -> str:
        """How ``other`` differs, in words; empty where it does not."""
        mine = asdict(self)
        return ", ".join(
            f"{name} {other.get(name)!r} instead of {mine[name]!r}" for name in mine if other.get(name) != mine[name]
        )

    def begin(self, out: Path) -> None:
        """Make ``out`` a half-written set of this plan. Raises DataError for a folder that holds something else."""
        out.mkdir(parents=True, exist_ok=True)
        begun = out / PLAN_FILE
        if begun.exists():
            difference = self.difference(json.loads(begun.read_text()))
            if difference:
                raise DataError(f"{out} holds a half-written shard set: {difference}",
                                remedy="repeat that conversion, choose another folder, or delete this one")  # fmt: skip
            return
        if any(path.name != WORK_FOLDER and not path.name.startswith(TEMPORARY) for path in out.iterdir()):
            raise DataError(f"{out} is not empty, and holds no shard set", remedy="choose another folder")
        begun.parent.mkdir(exist_ok=True)
        write_atomically(begun, json.dumps(asdict(self), sort_keys=True).encode())
