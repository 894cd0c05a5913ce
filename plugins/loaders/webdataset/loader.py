"""The loader: shard sets opened and written, streams of batches from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from drivetrain import Dataset, DataSpec, RecipeError

from .config import WebDatasetConfig
from .reader import ShardSet

if TYPE_CHECKING:
    from .stream import EvaluationStream, TrainingStream


def build(config: WebDatasetConfig) -> WebDatasetLoader:
    return WebDatasetLoader(config)


class WebDatasetLoader:
    """A `drivetrain.Loader`."""

    def __init__(self, config: WebDatasetConfig):
        self.config = config

    def open(self, path: str | tuple[str, ...], overlays: Sequence[str] = ()) -> ShardSet:
        return ShardSet(path, self.config.storage, overlays)

    def convert(self, dataset: Dataset, source: Path, out: Path, split: str, *, dataset_name: str, workers: int,
                samples_per_shard: int, part: tuple[int, int] = (1, 1), reencode: str | None = None,
                resize: str | None = None, append: bool = False, split_by_scene: str | None = None, of: str | None = None,
                progress: Callable[[int, int, int, int], None] | None = None) -> ShardSet | None:  # fmt: skip
        from .writer import convert

        return convert(dataset, Path(source), Path(out), split, dataset_name=dataset_name, workers=workers, part=part,
                       samples_per_shard=samples_per_shard, reencode=reencode, resize=resize, append=append,
                       split_by_scene=split_by_scene, of=of, progress=progress)  # fmt: skip

    def training(self, spec: DataSpec, *, batch_global: int, batch_micro: int, rank: int, world: int, threads: int,
                 pin: bool) -> TrainingStream:  # fmt: skip
        """Raises RecipeError where the micro-batch does not divide the global one, or ``world`` not the slots."""
        from .stream import Cut, TrainingStream

        slots = _slots(batch_global, batch_micro, world)
        return TrainingStream(
            spec, Cut(slots, batch_micro, rank, world), window=self.config.window, prefetch=self.config.prefetch,
            max_damaged_share=self.config.max_damaged_share, threads=threads, workers=self.config.workers, pin=pin,
            storage=self.config.storage,
        )  # fmt: skip

    def evaluation(self, spec: DataSpec, *, batch_micro: int, rank: int, world: int, threads: int, pin: bool
                   ) -> EvaluationStream:  # fmt: skip
        from .stream import Cut, EvaluationStream

        return EvaluationStream(
            spec, Cut(world, batch_micro, rank, world), prefetch=self.config.prefetch, threads=threads,
            workers=self.config.workers, pin=pin, storage=self.config.storage,
        )  # fmt: skip


def _slots(batch_global: int, batch_micro: int, world: int) -> int:
    slots, rest = divmod(batch_global, batch_micro)
    if rest or not slots:
        raise RecipeError(f"batch.micro = {batch_micro} does not divide batch.global = {batch_global}",
                          remedy="a step is batch.global / batch.micro micro-batches")  # fmt: skip
    if slots % world:
        fit = ", ".join(str(n) for n in range(1, slots + 1) if slots % n == 0)
        raise RecipeError(
            f"{world} ranks cannot share the {slots} micro-batches of a step (batch.global {batch_global} / "
            f"batch.micro {batch_micro})", remedy=f"run on one of these numbers of ranks: {fit}",
        )  # fmt: skip
    return slots
