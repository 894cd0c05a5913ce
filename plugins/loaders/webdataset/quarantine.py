"""Damaged samples of a training run: listed, counted, and the run stopped where they are too many."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drivetrain import DataError

_JUDGED_AFTER = 100  # samples, or one epoch of a smaller set: before that a share says nothing
VERIFY = "`drivetrain data verify --full` lists what is damaged: restore it from a copy, or write the set again"


class Quarantine:
    """``records`` of what was damaged; they go as JSON lines to ``path`` too where that is set. ``share``: of the samples,
    above which training stops; ``samples``: in an epoch."""

    def __init__(self, share: float, samples: int):
        self.records: list[dict[str, Any]] = []
        self.path: Path | None = None
        self._share, self._samples = share, samples

    def note(self, records: Sequence[dict[str, Any]], seen: int, replaced: int) -> None:
        """In the consumer's thread and order, so that a run stops at the same batch whatever its threads.

        Raises DataError where ``replaced`` of the samples ``seen`` so far are too many."""
        self.records += records
        if self.path is not None:
            with open(self.path, "a") as file:
                file.writelines(json.dumps(record) + "\n" for record in records)
        if seen >= min(_JUDGED_AFTER, self._samples) and replaced > self._share * seen:
            worst = ", ".join(f"{shard} ({count})" for shard, count in self.by_shard().most_common(3))
            raise DataError(
                f"{replaced} of {seen} samples were damaged, more than loader.max_damaged_share = {self._share:g}", where=worst,
                remedy=f"the last one is {records[-1]['key']!r}: {records[-1]['why']}\n{VERIFY}",
            )  # fmt: skip

    def by_shard(self) -> Counter[str]:
        """Shard's path -> its damaged samples, one that was drawn several times counted once."""
        return Counter(shard for shard, _ in {(record["shard"], record["key"]) for record in self.records})
