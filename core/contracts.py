"""What a plugin's factory returns, kind by kind. Protocols: nothing needs to be inherited."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import torch

    from .batch import Batch
    from .comm import Comm
    from .frame import CameraLabels, ClassInfo, Frame
    from .prediction import Prediction
    from .recipe_schema import EmaSection
    from .sample import Transform
    from .saving import FragmentWriter

# ---------------------------------------------------------------- data


class Dataset(Protocol):
    """An official layout on disk, read as Frames.

    A dataset may have a method ``identify(ref) -> (key, scene)`` that reads no picture: without it every frame is loaded
    once more where frames are appended to a set or split by scene.
    """

    classes: Mapping[str, Sequence[ClassInfo]]
    """task -> its classes, in the dataset's own names and ids; known once `index` has run."""

    def index(self, root: Path, split: str) -> Sequence[Any]:
        """What there is to load, in the official order: small, picklable references.

        Raises DataError naming the files of the layout that are missing."""
        ...

    def load(self, ref: Any) -> Frame:
        """One Frame. Raises DataError naming the file that is missing or wrong."""
        ...


@dataclass(frozen=True)
class Balance:
    """How often rare classes are seen in training: ``repeat_factor`` up to ``threshold``, or ``cbgs``."""

    method: str
    threshold: float


@dataclass(frozen=True)
class Join:
    """Another shard set, whose sensors are added to each frame by the nearest time in the same scene. ``tolerance`` in ns;
    frames that have no partner within it are left out."""

    name: str
    shards: str | tuple[str, ...]
    tolerance: int


@dataclass(frozen=True)
class Source:
    """A shard set that a recipe reads, at one address or over several. ``taxonomy``: task -> source class -> recipe class,
    ``ignore`` or ``drop``; ``where`` is the recipe's place of it, for messages. ``select``: which frames are meant
    (`drivetrain.Where`); ``view``: a curation's folder whose ``excluded.parquet`` lists keys that are not; ``weight`` and
    ``balance`` hold in training."""

    name: str
    shards: str | tuple[str, ...]
    taxonomy: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    where: str | None = None
    select: str | None = None
    view: str | None = None
    weight: float | None = None
    balance: Balance | None = None
    overlays: tuple[str, ...] = ()
    """Folders of labels that lie over the shards' own (`drivetrain.Overlay`), the later ones on top."""
    joins: tuple[Join, ...] = ()


@dataclass(frozen=True)
class DataSpec:
    """What to read and as what: ``tasks``, per task the recipe's ``classes``, ``cameras`` (None: the set's only one),
    ``transforms`` by name in their order, ``lidars``, and how many frames ``clip_frames`` a sample has, ``clip_stride``
    frames apart. Of the shards only what is named here is read."""

    sources: tuple[Source, ...]
    tasks: tuple[str, ...]
    classes: Mapping[str, tuple[str, ...]]
    cameras: tuple[str, ...] | None
    transforms: Mapping[str, Transform]
    seed: int
    lidars: tuple[str, ...] = ()
    clip_frames: int = 1
    clip_stride: int = 1


class ShardSet(Protocol):
    """A shard set, opened. ``info`` is its ``dataset.json``, ``index`` its ``index.parquet`` in stored order."""

    path: str
    info: Mapping[str, Any]
    classes: Mapping[str, Sequence[ClassInfo]]
    index: pa.Table

    def __len__(self) -> int: ...

    def frame(self, number: int) -> Frame:
        """The Frame in place ``number``, checksum checked. Raises DataError where it is damaged or was withdrawn."""
        ...

    def readable(self) -> np.ndarray:
        """int64: the numbers of all frames but those that were withdrawn."""
        ...

    def verify(self, full: bool, progress: Callable[[int, int], None] | None = None, workers: int = 1) -> list[str]:
        """What is wrong, a line each. Fast: index and sizes; ``full``: every checksum and every decode, in processes."""
        ...

    def statistics(self, frames: bool, progress: Callable[[int, int], None] | None = None, workers: int = 1) -> dict[str, Any]:
        """Counts by task, class, scene and tag; with ``frames`` also of box and image sizes, which reads all frames but no
        picture, in processes. All JSON."""
        ...

    def withdraw(self, keys: Sequence[str]) -> int:
        """List ``keys`` as withdrawn; how many are new. Raises DataError, changing nothing, for keys not in the set."""
        ...


class Stream(Protocol):
    """Batches of one rank, and what reading them has cost."""

    def counters(self) -> Mapping[str, float]:
        """Since the start: ``seconds_waiting`` of the consumer, ``samples``, ``bytes``, ``replaced``..."""
        ...

    def close(self) -> None: ...


class TrainingStream(Stream, Protocol):
    order_id: str
    quarantine_path: Path | None
    """Where damaged samples are listed, as JSON lines."""

    def batches(self, step: int) -> Iterator[Batch]:
        """This rank's micro-batches from the first of global step ``step`` on, without end, in the order (step, slot)."""
        ...

    def keys(self, step: int) -> list[list[str]]:
        """Per slot of global step ``step``, of all ranks, the keys of its samples."""
        ...

    def state(self, step: int) -> dict[str, Any]:
        """Under 1 KB of JSON: what a checkpoint at ``step`` must hold so that a later run goes on exactly."""
        ...

    def resume(self, state: Mapping[str, Any], *, replay: bool = False) -> list[str]:
        """Go on from a saved ``state``: earlier steps are as they were; weights that are others now, and shards that a set
        has gained, count from there on as the design says; with ``replay`` not at all: the order is the saved one.

        Returns what else differs, a line each, and then takes nothing over; empty: it goes on exactly."""
        ...


class EvaluationStream(Stream, Protocol):
    missing: list[str]

    def __len__(self) -> int:
        """The number of batches, the same on every rank: uneven ends are evened with fillers."""
        ...

    def __iter__(self) -> Iterator[Batch]: ...


class Loader(Protocol):
    def open(self, path: str | tuple[str, ...], overlays: Sequence[str] = ()) -> ShardSet: ...

    def convert(self, dataset: Dataset, source: Path, out: Path, split: str, *, dataset_name: str, workers: int,
                samples_per_shard: int, part: tuple[int, int] = (1, 1), reencode: str | None = None,
                resize: str | None = None, append: bool = False, split_by_scene: str | None = None, of: str | None = None,
                progress: Callable[[int, int, int, int], None] | None = None) -> ShardSet | None:  # fmt: skip
        """Write a dataset's split as a shard set. Finishes a half-written one; byte-identical whatever ``workers``.

        ``part`` (i, n), i from 1: one of n processes that share the work; None is returned while others are at work.
        ``reencode``: ``jpg:QUALITY`` or ``png``; ``resize``: ``WIDTHxHEIGHT``. ``append``: new frames become new shards of
        a whole set. ``split_by_scene``: ``TRAIN:VAL[:TEST]`` shares into which the scenes of the dataset's split ``of``
        (None: ``split``) are divided; ``split`` is the side that is written. ``progress(samples done, samples, samples kept
        from an earlier attempt, bytes written)``."""
        ...

    def training(self, spec: DataSpec, *, batch_global: int, batch_micro: int, rank: int, world: int,
                 threads: int, pin: bool) -> TrainingStream: ...  # fmt: skip

    def evaluation(self, spec: DataSpec, *, batch_micro: int, rank: int, world: int, threads: int, pin: bool
                   ) -> EvaluationStream: ...  # fmt: skip


# ---------------------------------------------------------------- training


@dataclass(frozen=True)
class EngineContext:
    """What an engine is made of. ``build_model`` may be called inside a context that partitions parameters at birth;
    ``build_optimizer(model)`` is over its trained parameters; ``lr_factor(step)``; ``precision`` is ``fp32`` or ``bf16``;
    ``accumulation`` is the number of micro-batches a rank computes a step; ``clip`` the largest gradient norm, None for no
    clipping; in the first ``check_steps`` steps ranks compare what their losses depend on; ``ema``: keep a running mean of
    the weights; ``compiled``: the model's losses are, which an engine that cannot do with it refuses."""

    comm: Comm
    build_model: Callable[[], torch.nn.Module]
    build_optimizer: Callable[[torch.nn.Module], torch.optim.Optimizer]
    lr_factor: Callable[[int], float]
    precision: str
    accumulation: int
    micro_batch: int
    clip: float | None
    check_steps: int = 0
    ema: EmaSection | None = None
    compiled: bool = False


@dataclass
class StepResult:
    """One optimizer step of one rank: per micro-batch the total ``losses`` and per name the terms (sum / weight), detached
    scalars on the device; the global ``grad_norm`` before clipping; ``lr``; ``skipped`` where the optimizer did not step."""

    losses: list[torch.Tensor]
    parts: dict[str, list[torch.Tensor]]
    lr: float
    grad_norm: float | None
    skipped: bool = False


class Engine(Protocol):
    """How a model is trained and asked; `drivetrain.BaseEngine` has what most engines share."""

    model: torch.nn.Module

    def step(self, micro_batches: Iterable[Batch]) -> StepResult:
        """Forward and backward of each micro-batch, then one optimizer step."""
        ...

    def predict(self, batch: Batch) -> list[Prediction]: ...

    def average_buffers(self) -> None:
        """Norms' running statistics averaged over ranks; collective."""
        ...

    def averaged(self) -> AbstractContextManager[None]:
        """Around evaluation: the running mean of the weights in their place, where there is one; collective."""
        ...

    def save(self, writer: FragmentWriter) -> None:
        """Add what this rank owns: pieces of the weights with their optimizer state and, on one rank, the buffers. What
        all ranks hold, one of them adds. ``writer`` takes the values over at once and writes behind the training."""
        ...

    def load(self, checkpoint: Any) -> None:
        """Restore model, optimizer and step from a whole checkpoint (`drivetrain.checkpoint.Checkpoint`)."""
        ...


# ---------------------------------------------------------------- metrics and trackers


@dataclass(frozen=True)
class MetricContext:
    """What a metric is built for: one task's ``classes``."""

    task: str
    classes: tuple[str, ...]


class Metric(Protocol):
    """Exact over ranks: `state` of each rank is merged on rank 0, in the order of ranks, before `compute`.

    One that has also a method ``scored() -> Scored`` of what it has seen gets figures of slices and gates with intervals, as
    those have that are made of `drivetrain.PictureMetric`.
    """

    def update(self, prediction: Prediction, truth: Frame) -> None:
        """``truth`` has its labels in the recipe's classes. Frames without labels of the task are passed over."""
        ...

    def state(self) -> Any: ...

    def merge(self, state: Any) -> None: ...

    def compute(self) -> dict[str, Any]:
        """The figure under the metric's own name, and its details, all JSON."""
        ...


class Scored(Protocol):
    """Predictions that were held against the truth, frame by frame."""

    keys: Sequence[str]
    """The frames, named as in an ids file; one of several pictures may be named once for each."""

    scenes: Sequence[str]
    """Which drive each frame is from; frames of one scene are resampled together."""

    nothing: float | None
    """What the official tool says where there is nothing to be scored."""

    def figures(self, times: np.ndarray) -> dict[str, Any]:
        """The official numbers, nested and named as the official tool's, all JSON, with frame k counted ``times[k]``
        times (int64 [N]); None where there is nothing to be scored. Called thousands of times by a bootstrap."""
        ...


class Scorer(Protocol):
    def __call__(self, truth: Path, predictions: Path, ids: Sequence[str] | None) -> Scored:
        """Read and match official files, of the frames ``ids`` or of all in the truth, in that order.

        Raises DataError naming file, line, key, what was expected and a remedy."""
        ...


@dataclass(frozen=True)
class TrackerContext:
    """``run_dir``; ``name`` of the run; ``recipe`` resolved, without secrets; ``resume_id`` of the tracker's own run if
    one goes on; ``job_type`` train, eval or trial; per task the ``classes``; ``about`` provenance to be shown as notes."""

    run_dir: Path
    name: str
    recipe: Mapping[str, Any]
    job_type: str
    classes: Mapping[str, tuple[str, ...]]
    resume_id: str | None = None
    group: str | None = None
    tags: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Panel:
    """A picture to look at: ``image`` uint8 [H, W, 3] RGB at the original size, truth and prediction in the recipe's
    classes, masks decoded uint8 [H, W]."""

    key: str
    image: np.ndarray
    truth: CameraLabels
    prediction: CameraLabels | None


class Tracker(Protocol):
    @property
    def run_id(self) -> str | None:
        """The id under which a resumed run goes on."""
        ...

    def log(self, step: int, values: Mapping[str, float]) -> None: ...

    def panels(self, step: int, panels: Sequence[Panel]) -> None: ...

    def summary(self, values: Mapping[str, Any]) -> None:
        """Figures of the whole run, such as its best."""
        ...

    def finish(self, error: BaseException | None) -> None:
        """Ends in bounded time."""
        ...
