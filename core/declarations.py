"""The typed objects that hooks return.

A declaration costs nothing: ``config`` and ``factory`` are names, ``"package.module:Name"``, that are imported when a
recipe asks for the plugin. ``config`` names a pydantic model in a module that imports no torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

API_VERSION = 1
_TARGET = re.compile(r"[\w.]+:[\w.]+")


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """What every declaration says of itself.

    Parameters
    ----------
    name: what a recipe calls it; no colon, since ``dist:name`` always works too.
    about: one line for ``drivetrain plugins list``.
    factory: ``"package.module:callable"``; its arguments are given by the kind.
    config: ``"package.module:Model"``, a pydantic model; None where there is nothing to set.
    api_version: the contract that the plugin was written against.
    default: chosen where a recipe is silent; a kind has at most one.

    Raises ValueError for a name with a colon, a target of another form, or a newer contract.
    """

    name: str
    about: str
    factory: str
    config: str | None = None
    api_version: int = API_VERSION
    default: bool = False
    kind: ClassVar[str] = "plugin"

    def __post_init__(self):
        if not self.name or ":" in self.name or self.name != self.name.strip():
            raise ValueError(f"{self.kind} name {self.name!r}: a name is not empty and holds no colon")
        for field in ("factory", "config", "taxonomies", "suits"):
            target = getattr(self, field, None)
            if target is not None and not _TARGET.fullmatch(target):
                raise ValueError(f"{self.kind} {self.name!r}: {field} is {target!r}, expected 'package.module:Name'")
        if not 1 <= self.api_version <= API_VERSION:
            raise ValueError(f"{self.kind} {self.name!r}: written for API {self.api_version}, this is {API_VERSION}")


@dataclass(frozen=True, kw_only=True)
class ModelPlugin(Plugin):
    """``factory(config, ModelContext) -> drivetrain.Model``; ``tasks`` are names of `drivetrain.tasks.TASKS`."""

    tasks: frozenset[str] | set[str] | tuple[str, ...]
    kind: ClassVar[str] = "model"

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "tasks", frozenset(self.tasks))


@dataclass(frozen=True, kw_only=True)
class DatasetPlugin(Plugin):
    """``factory(config) -> drivetrain.Dataset``: an official layout on disk, read as Frames. ``taxonomies`` names a mapping,
    ``"package.module:NAME"``: name -> own class -> a class of others, ``ignore`` or ``drop``; recipes call it DATASET:NAME."""

    taxonomies: str | None = None
    kind: ClassVar[str] = "dataset"


@dataclass(frozen=True, kw_only=True)
class LoaderPlugin(Plugin):
    """``factory(config) -> drivetrain.Loader``: writes shard sets and streams batches from them."""

    kind: ClassVar[str] = "loader"


@dataclass(frozen=True, kw_only=True)
class TransformPlugin(Plugin):
    """``factory(config) -> drivetrain.Transform``: joint over pictures and labels."""

    kind: ClassVar[str] = "transform"


@dataclass(frozen=True, kw_only=True)
class ParallelismPlugin(Plugin):
    """``factory(config, EngineContext) -> drivetrain.Engine``."""

    kind: ClassVar[str] = "parallelism"


@dataclass(frozen=True, kw_only=True)
class OptimizerPlugin(Plugin):
    """``factory(config, parameter_groups) -> torch.optim.Optimizer``."""

    kind: ClassVar[str] = "optimizer"


@dataclass(frozen=True, kw_only=True)
class LRSchedulePlugin(Plugin):
    """``factory(config, total_steps) -> Callable[[int], float]``: the learning rate's factor at a step, from that alone."""

    kind: ClassVar[str] = "lr_schedule"


@dataclass(frozen=True, kw_only=True)
class MetricPlugin(Plugin):
    """``factory(config, MetricContext) -> drivetrain.Metric``. ``direction`` is ``max`` or ``min`` of the figure ``name``."""

    task: str
    direction: str = "max"
    kind: ClassVar[str] = "metric"


@dataclass(frozen=True, kw_only=True)
class ScorerPlugin(Plugin):
    """``factory(config) -> drivetrain.Scorer``: official metrics on official files, as ``drivetrain score NAME``."""

    kind: ClassVar[str] = "scorer"


@dataclass(frozen=True, kw_only=True)
class TrackerPlugin(Plugin):
    """``factory(config, TrackerContext) -> drivetrain.Tracker``, on rank 0 alone."""

    kind: ClassVar[str] = "tracker"


@dataclass(frozen=True, kw_only=True)
class SearchAlgorithmPlugin(Plugin):
    """``factory(config, AlgorithmContext) -> drivetrain.SearchAlgorithm``. ``suits``, ``"package.module:function"``, is given
    the same context and returns how well the algorithm suits a study, 0 to 1: the best is chosen where a recipe is silent."""

    suits: str | None = None
    kind: ClassVar[str] = "search_algorithm"


@dataclass(frozen=True, kw_only=True)
class TrialSchedulerPlugin(Plugin):
    """``factory(config, SchedulerContext) -> drivetrain.TrialScheduler``: how far trials go. ``changes_trials``: it gives
    trials other values on their way, so that these may be none that a run's model or order of samples hangs on."""

    changes_trials: bool = False
    kind: ClassVar[str] = "trial_scheduler"


@dataclass(frozen=True, kw_only=True)
class TrialExecutorPlugin(Plugin):
    """``factory(config, ExecutorContext) -> drivetrain.TrialExecutor``: where trials run."""

    kind: ClassVar[str] = "trial_executor"


@dataclass(frozen=True, kw_only=True)
class CurationCheckPlugin(Plugin):
    """``factory(config) -> drivetrain.CurationCheck``: what ``drivetrain data curate`` looks for. ``excludes``: its findings
    leave their frames out of the view unless the user says otherwise; ``needs_predictions``: left out without them."""

    excludes: bool = False
    needs_predictions: bool = False
    kind: ClassVar[str] = "curation_check"


@dataclass(frozen=True, kw_only=True)
class HealthCheckPlugin(Plugin):
    """``factory() -> Iterable[Finding]``: what ``drivetrain doctor`` runs."""

    kind: ClassVar[str] = "health_check"


@dataclass(frozen=True, kw_only=True)
class CommandPlugin(Plugin):
    """``factory`` is a function that typer can run; ``name`` is its place, such as ``profile`` or ``data synth``."""

    kind: ClassVar[str] = "command"


@dataclass(frozen=True)
class Finding:
    """One line of ``drivetrain doctor``. ``status`` is ``ok``, ``warning`` or ``error``."""

    status: str
    what: str
    remedy: str = ""
