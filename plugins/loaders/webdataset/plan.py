"""What a folder is converted from, and how; a half-written set goes on only with an equal plan."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from drivetrain import DataError

from .shards import DATASET_FILE, PLAN_FILE, TEMPORARY, WORK_FOLDER, write_atomically


@dataclass(frozen=True)
class Plan:
    """``reencode``: ``jpg:QUALITY`` or ``png``, None for pictures as they are; ``resize``: ``WIDTHxHEIGHT`` or None.

    ``split_by_scene``: the shares of the sides, of which ``split`` is one, of the dataset's split ``of``. Where frames are
    appended, ``samples`` are the new ones, from shard ``first_shard`` and sample ``first_sample`` on.
    """

    dataset: str
    split: str
    samples: int
    samples_per_shard: int
    reencode: str | None = None
    resize: str | None = None
    split_by_scene: str | None = None
    of: str | None = None
    first_shard: int = 0
    first_sample: int = 0

    @property
    def shards(self) -> int:
        return -(-self.samples // self.samples_per_shard)

    @property
    def numbers(self) -> range:
        """Of the shards that are written."""
        return range(self.first_shard, self.first_shard + self.shards)

    def start(self, number: int) -> int:
        """The first sample of shard ``number``."""
        return self.first_sample + (number - self.first_shard) * self.samples_per_shard

    @property
    def info(self) -> dict[str, Any]:
        """What ``dataset.json`` says of it once the set is whole."""
        kept = {name: value for name, value in asdict(self).items() if not name.startswith("first_")}
        return kept | {"samples": self.first_sample + self.samples}

    def is_done(self, out: Path) -> bool:
        """Whether the set at ``out`` has these shards."""
        try:
            return json.loads((out / DATASET_FILE).read_text())["shards"] >= self.numbers.stop
        except FileNotFoundError:
            return False

    def difference(self, other: Mapping[str, Any]) -> str:
        """How ``other`` differs, in words; empty where it does not."""
        mine = asdict(self)
        others = {field.name: other.get(field.name, field.default) for field in fields(self)}
        return ", ".join(f"{name} {others[name]!r} instead of {mine[name]!r}" for name in mine if others[name] != mine[name])

    def begin(self, out: Path) -> None:
        """Make ``out`` a half-written set of this plan. Raises DataError for a folder that holds something else."""
        out.mkdir(parents=True, exist_ok=True)
        begun = out / PLAN_FILE
        if begun.exists():
            difference = self.difference(json.loads(begun.read_text()))
            if difference:
                raise self._half_written(out, difference)
            return
        if not (out / DATASET_FILE).exists() and any(
            path.name != WORK_FOLDER and not path.name.startswith(TEMPORARY) for path in out.iterdir()
        ):
            raise DataError(f"{out} is not empty, and holds no shard set", remedy="choose another folder")
        begun.parent.mkdir(exist_ok=True)
        write_atomically(begun, json.dumps(asdict(self), sort_keys=True).encode())

    def _half_written(self, out: Path, difference: str) -> DataError:
        if (out / DATASET_FILE).exists():
            return DataError(f"{out}: other frames are being appended: {difference}",
                             remedy=f"repeat that command, or delete {out / WORK_FOLDER}: the set itself is whole")  # fmt: skip
        return DataError(f"{out} holds a half-written shard set: {difference}",
                         remedy="repeat that conversion, choose another folder, or delete this one")  # fmt: skip
