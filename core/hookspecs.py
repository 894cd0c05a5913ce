"""Every extension point of drivetrain. A plugin implements those that it wants, and returns declarations.

Hooks that collect run once a process and must cost nothing. Hooks of a run's life cycle run on rank 0; an error in one
is caught and told, and never ends a run. docs/plugins.md has an example of each.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from pathlib import Path

    from . import declarations as d

PROJECT = "drivetrain"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def drivetrain_models() -> Iterable[d.ModelPlugin]:
    """Models: losses from a batch, predictions from a batch."""


@hookspec
def drivetrain_datasets() -> Iterable[d.DatasetPlugin]:
    """Datasets: an official layout on disk, read as Frames."""


@hookspec
def drivetrain_loaders() -> Iterable[d.LoaderPlugin]:
    """Loaders: shard sets written, and batches streamed from them."""


@hookspec
def drivetrain_transforms() -> Iterable[d.TransformPlugin]:
    """Transforms: augmentations that are joint over pictures and labels."""


@hookspec
def drivetrain_parallelisms() -> Iterable[d.ParallelismPlugin]:
    """Parallelism: engines that step a model over ranks."""


@hookspec
def drivetrain_optimizers() -> Iterable[d.OptimizerPlugin]:
    """Optimizers over parameter groups."""


@hookspec
def drivetrain_lr_schedules() -> Iterable[d.LRSchedulePlugin]:
    """Learning rate schedules: a factor that depends on the step alone."""


@hookspec
def drivetrain_metrics() -> Iterable[d.MetricPlugin]:
    """Metrics: predictions against labelled Frames, exact over ranks."""


@hookspec
def drivetrain_scorers() -> Iterable[d.ScorerPlugin]:
    """What ``drivetrain score`` knows: official metrics on official files."""


@hookspec
def drivetrain_trackers() -> Iterable[d.TrackerPlugin]:
    """Experiment trackers."""


@hookspec
def drivetrain_search_algorithms() -> Iterable[d.SearchAlgorithmPlugin]:
    """Search algorithms: the next point of a study."""


@hookspec
def drivetrain_trial_schedulers() -> Iterable[d.TrialSchedulerPlugin]:
    """Trial schedulers: how far a study's trials go."""


@hookspec
def drivetrain_trial_executors() -> Iterable[d.TrialExecutorPlugin]:
    """Trial executors: where a study's trials run."""


@hookspec
def drivetrain_curation_checks() -> Iterable[d.CurationCheckPlugin]:
    """What ``drivetrain data curate`` looks for in shard sets."""


@hookspec
def drivetrain_health_checks() -> Iterable[d.HealthCheckPlugin]:
    """What ``drivetrain doctor`` looks at."""


@hookspec
def drivetrain_commands() -> Iterable[d.CommandPlugin]:
    """Commands added to the command line."""


@hookspec
def drivetrain_run_started(run: Any) -> None:
    """A run begins or goes on."""


@hookspec
def drivetrain_metrics_logged(run: Any, step: int, metrics: dict[str, Any]) -> None:
    """A record has been written to the run's ``metrics.jsonl``."""


@hookspec
def drivetrain_checkpoint_saved(run: Any, path: Path, step: int) -> None:
    """A checkpoint is whole on disk."""


@hookspec
def drivetrain_evaluation_finished(run: Any, step: int, results: dict[str, Any]) -> None:
    """An evaluation has ended."""


@hookspec
def drivetrain_run_finished(run: Any, error: BaseException | None) -> None:
    """A run has ended, with the error that ended it if there was one."""
