"""The sections of a recipe.

Sections that name a plugin are flat: the keys of the core (`ModelKeys`, `EntryKeys`) stand beside the plugin's own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from .errors import RecipeError
from .where import Where

SINGLE = ("model", "loader", "parallelism", "optimizer", "lr_schedule")
"""Sections that are one plugin each; their name is its kind."""
NAMED = {"transforms": "transform", "metrics": "metric", "tracker": "tracker"}
"""Sections that are named, ordered plugins, and their kind. An entry's plugin is that of its own name, if none is said."""
SEARCH = {"algorithm": "search_algorithm", "scheduler": "trial_scheduler", "executor": "trial_executor"}
"""Keys of the section ``search`` that are one plugin each, and their kind."""
RESERVED = ("ignore", "drop")
"""What a taxonomy may map a class to beside the recipe's classes."""


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
    return pattern


def _can_be_read(text: str) -> str:
    try:
        Where.parse(text)
    except RecipeError as error:
        raise ValueError(error.text()) from error
    return text


PluginSection = dict[str, Any]
Count = Annotated[int, Field(ge=1)]
Pattern = Annotated[str, AfterValidator(_compiles)]
"""A regular expression, looked for anywhere in a name."""
WhereText = Annotated[str, AfterValidator(_can_be_read)]
"""An expression of `drivetrain.Where`."""
ClassNames = Annotated[list[str], Field(max_length=255)]
_ENTRIES: dict[str, Any] = {"type": "object", "additionalProperties": {"type": "string"}}
_PARTS = {"type": "array", "items": {"anyOf": [{"type": "string"}, _ENTRIES]}}
Mapped = Annotated[dict[str, str], WithJsonSchema({"anyOf": [_ENTRIES, {"type": "string"}, _PARTS]})]
"""Source class -> class, ``ignore`` or ``drop``. A recipe may also name shipped ones, which are put in before it is checked."""


class Section(BaseModel):
    """Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=False)


class BalanceSection(Section):
    method: Literal["repeat_factor", "cbgs"] = Field(
        description="repeat frames of rare classes (LVIS), or even them out (CBGS)"
    )
    threshold: float = Field(1e-3, gt=0, le=1, description="repeat_factor: classes in fewer frames than this share are rare")


class Addressed(Section):
    shards: str | list[str] = Field(description="the folder or address of a shard set or of WebDataset tars")

    @property
    def addresses(self) -> str | tuple[str, ...]:
        return self.shards if isinstance(self.shards, str) else tuple(self.shards)


class JoinSection(Addressed):
    tolerance_ms: float = Field(50, ge=0, description="the farthest that a partner may be in time; frames without are left out")


class SourceSection(Addressed):
    where: WhereText | None = Field(None, description="which frames: tags.weather == 'rain' and counts.TASK.CLASS >= 1")
    view: str | None = Field(None, description="a folder that a curation wrote: the frames it excludes are left out")
    weight: float | None = Field(None, ge=0, description="in training, its share of the samples, beside the others' weights")
    balance: BalanceSection | None = Field(None, description="in training, how often frames of rare classes are seen")
    taxonomy: Mapped = Field({}, description="as in data.taxonomy, which it goes before")
    overlays: list[str] = Field([], description="folders of labels that lie over the shards' own, the later ones on top")
    join: dict[str, JoinSection] = Field({}, description="sets whose sensors are added, by the nearest time in a scene")
    enabled: bool = Field(True, exclude=True, description="false removes this source")


class ClipSection(Section):
    frames: Count = Field(1, description="frames of a sample: it and those before it, not crossing scenes")
    stride: Count = Field(1, description="frames from one of them to the next")


class DataSection(Section):
    train: dict[str, SourceSection] = Field(min_length=1, description="what is trained on, by name")
    val: dict[str, SourceSection] = Field({}, description="what is evaluated on, by name")
    classes: ClassNames | dict[str, ClassNames] = Field(
        description="the model's classes; per task where it has several; [] for depth"
    )
    cameras: list[str] | None = Field(None, description="which cameras; null: the shard set's only one")
    lidars: list[str] = Field([], description="which lidars and radars; none: no sweep is read")
    clip: ClipSection = Field(default_factory=lambda: ClipSection.model_validate({}))
    taxonomy: dict[str, Mapped] = Field(
        {}, description="per source: its class -> class, ignore or drop; or DATASET:NAME, a shipped one; or a list of such"
    )

    @field_validator("classes")
    @classmethod
    def _names_are_distinct(cls, classes):
        for names in classes.values() if isinstance(classes, dict) else [classes]:
            repeated = sorted({n for n in names if names.count(n) > 1})
            if repeated:
                raise ValueError(f"a class is named twice: {', '.join(repeated)}")
            if set(names) & set(RESERVED):
                raise ValueError(f"{' and '.join(RESERVED)} are words of the taxonomy, not classes")
        return classes

    def wrong_weights(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """(what, its key): all sources of training have a weight, or none has; an evaluation sees every frame once."""
        train = {name: s.weight for name, s in self.train.items() if s.enabled}
        without = [name for name, weight in train.items() if weight is None]
        if 0 < len(without) < len(train):
            yield from (("is needed, since other sources have one", ("data", "train", name, "weight")) for name in without)
        elif train and not without and not any(train.values()):
            yield "all weights are 0", ("data", "train")
        for name, source in self.val.items():
            for key in ("weight", "balance"):
                if getattr(source, key) is not None:
                    yield "an evaluation sees every frame once", ("data", "val", name, key)


class BatchSection(Section):
    micro: Count = Field(description="samples that one rank computes at a time")
    global_: Count = Field(alias="global", description="samples in an optimizer step, over all ranks")

    @field_validator("global_")
    @classmethod
    def _is_a_multiple(cls, value, info):
        micro = info.data.get("micro")
        if micro and value % micro:
            below = value - value % micro
            near = " and ".join(str(n) for n in (below, below + micro) if n)
            raise ValueError(f"{value} is not a multiple of batch.micro, {micro}; the nearest: {near}")
        return value

    @property
    def slots(self) -> int:
        """Micro-batches in a step; the world size must divide it."""
        return self.global_ // self.micro


class TrainSection(Section):
    steps: Count = Field(description="optimizer steps of the whole schedule")
    clip: float | None = Field(None, gt=0, description="largest norm of the gradient; null: not clipped")
    log_every: Count = Field(10, description="steps from one record to the next")
    stop_at: Count | None = Field(None, description="leave at this step, the schedule staying whole")
    timeout_s: float = Field(600, gt=0, le=1500, description="seconds in which no rank moves within steps: the job ends")
    grace_s: float = Field(60, gt=0, description="seconds after SIGTERM or SIGUSR1 in which the run saves and leaves")
    record_samples: bool = Field(False, description="write the keys of every step's samples")
    check_steps: int = Field(2, ge=0, description="first steps in which ranks compare what their losses depend on")
    max_skipped: Count = Field(10, description="steps in a row whose gradient is not finite before the run stops")
    threads: Count | None = Field(None, description="threads of a rank that decode; null: its share of the cores")
    activation_checkpointing: bool | list[Pattern] = Field(
        False, description="compute layers' activations again in the backward pass, or those of modules by patterns of names"
    )
    compile: bool = Field(False, description="compile the losses' computation with torch.compile")


class TilesSection(Section):
    grid: tuple[Count, Count] = Field(description="[rows, columns] of tiles, all of one size")
    overlap: float = Field(0.2, ge=0, lt=0.9, description="share of a tile that the next one shows too")
    whole: bool = Field(False, description="find boxes in the whole picture too, made as small as a tile")


Cost = Literal["parameters", "latency_ms", "memory_bytes"]


class EvaluationSection(Section):
    every: Count | None = Field(None, description="steps from one evaluation to the next; null: at the end alone")
    at_end: bool = Field(True, description="evaluate after the last step")
    batch: Count | None = Field(None, description="samples at a time; null: batch.micro")
    panels: int = Field(8, ge=0, description="pictures shown to the trackers")
    tiles: TilesSection | None = Field(None, description="predict large pictures in tiles; null: in one piece")
    cost: list[Cost] = Field([], description="what is measured of the model beside the metrics, once a run")
    slices: dict[str, WhereText] = Field({}, description="name -> which frames: figures of each beside those of the whole")


class CheckpointSection(Section):
    every: Count | None = Field(500, description="steps from one checkpoint to the next; null: at the end alone")
    at_end: bool = Field(True, description="save after the last step")
    keep: Count = Field(3, description="how many of the newest are kept")
    best: str | None = Field(None, description="the metric whose best checkpoint is kept too")
    asynchronous: bool = Field(True, description="write behind the training, which waits for a copy in host memory alone")


class Gate(Section):
    metric: str | None = Field(None, description="an entry of metrics; null: the one of the gate's own name")
    figure: str | None = Field(None, description="one of its figures, such as ap.car; null: its own")
    slice: str | None = Field(None, description="a name in evaluation.slices; null: all frames")
    min: float | None = Field(None, description="the least that passes")
    max: float | None = Field(None, description="the most that passes")
    max_drop: float | None = Field(None, ge=0, description="the most by which it may be below a reference run's")
    max_rise: float | None = Field(None, ge=0, description="the most by which it may be above a reference run's")
    min_n: Count = Field(1, description="frames below which the gate is undecided")
    min_objects: Count | None = Field(None, description="labelled objects below which it is, of the figure's class or of all")

    @model_validator(mode="after")
    def _says_something(self):
        if all(limit is None for limit in (self.min, self.max, self.max_drop, self.max_rise)):
            raise ValueError("expected min, max, max_drop or max_rise")
        return self

    @property
    def compares(self) -> bool:
        """Whether it asks for a reference run."""
        return self.max_drop is not None or self.max_rise is not None


class InitFrom(Section):
    path: str = Field(description="a checkpoint, a run or a file of weights, or a name that the model's library knows")
    include: list[str] = Field([], description="patterns of parameter names to load; none: all")
    exclude: list[str] = Field([], description="patterns of parameter names to leave")
    rename: dict[str, str] = Field({}, description="prefix there -> prefix here")


class EntryKeys(Section):
    """The core's keys in a named entry."""

    plugin: str | None = Field(None, description="NAME or DISTRIBUTION:NAME")
    enabled: bool = Field(True, description="false removes this entry")


class PluginKeys(Section):
    """The core's keys in a section of one plugin."""

    plugin: str | None = Field(None, description="NAME or DISTRIBUTION:NAME; null: the default")


class ModelKeys(Section):
    """The core's keys in the section ``model``."""

    plugin: str = Field(description="NAME or DISTRIBUTION:NAME")
    task: str | None = Field(None, description="what it is trained for; null: the model's only task")
    tasks: list[str] | None = Field(None, min_length=1, description="the same for several tasks")
    init_from: InitFrom | None = Field(None, description="weights to start from; null: from scratch")
    norm: Literal["batch", "sync", "frozen", "group"] | None = Field(
        None,
        description="what its batch norms become: sync over all ranks, frozen, or group norms; null: as the model has them",
    )


class OptimizerKeys(PluginKeys):
    """The core's keys in the section ``optimizer``."""

    freeze: list[Pattern] = Field(
        [], description="patterns of parameter names that are not trained; their norms stay as they are"
    )
    lr_scale: dict[Pattern, Annotated[float, Field(gt=0)]] = Field(
        {}, description="pattern of parameter names -> factor of their learning rate"
    )
    layer_decay: float | None = Field(None, gt=0, le=1, description="factor of the rate from a layer to the one before it")
    no_decay_norms_and_biases: bool = Field(False, description="no weight decay for parameters of one dimension and for biases")
    lr_scaling: Literal["none", "linear", "sqrt"] = Field(
        "none", description="multiply the rate by batch.global / reference_batch, or by its root"
    )
    reference_batch: Count | None = Field(None, description="the batch that the learning rate was chosen for")

    @model_validator(mode="after")
    def _scaling_has_a_reference(self):
        if (self.lr_scaling == "none") != (self.reference_batch is None):
            raise ValueError("lr_scaling and reference_batch go together")
        return self

    def lr_factor(self, batch: int) -> float:
        """Of the learning rate, at a global batch of ``batch`` (Goyal et al. 2017; Krizhevsky 2014 for the root)."""
        share = batch / (self.reference_batch or batch)
        return math.sqrt(share) if self.lr_scaling == "sqrt" else share


class EmaSection(Section):
    decay: float = Field(0.999, gt=0, lt=1, description="of the average's old value at every step that is taken")
    warmup: bool = Field(True, description="smaller at first: (1 + step) / (10 + step), where that is less than decay")

    def decay_at(self, step: int) -> float:
        """At a step, counted from 1."""
        return min(self.decay, (1 + step) / (10 + step)) if self.warmup else self.decay


class ParameterSection(Section):
    """Numbers from ``low`` to ``high``, or ``choices``, which may be written as a plain list."""

    choices: list[Any] = Field([], description="the values, in any number")
    low: float | int | None = Field(None, description="the least, which is possible itself")
    high: float | int | None = Field(None, description="the most, which is possible itself")
    log: bool = Field(False, description="even in the logarithm, for what spans powers of ten")
    step: float | int | None = Field(None, gt=0, description="only low, low + step and so on")
    type: Literal["float", "int"] | None = Field(None, description="null: int where low and high are written as integers")
    when: dict[str, Any] = Field({}, description="other parameters -> the value, or list of values, with which this one counts")

    @model_validator(mode="after")
    def _is_a_range_or_choices(self):
        if [] in self.when.values():
            raise ValueError("when: an empty list of values never comes true")
        if bool(self.choices) == (self.low is not None or self.high is not None):
            raise ValueError("expected low and high, or choices")
        if self.choices:
            if any(self.choices.count(one) > 1 for one in self.choices):
                raise ValueError("a choice is there twice")
            if not _is_finite(self.choices):
                raise ValueError("a choice is no finite number")
            if self.log or self.step is not None or self.type is not None:
                raise ValueError("log, step and type are for low and high")
            return self
        if self.low is None or self.high is None:
            raise ValueError("expected low and high")
        if self.low >= self.high:
            raise ValueError(f"low is {self.low:g}, high is {self.high:g}: expected low below high")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("a logarithmic range is above 0 and has no step")
        if self.is_integer and any(n != int(n) for n in (self.low, self.high, self.step or 1)):
            raise ValueError("an int range has integer low, high and step")
        return self

    @property
    def is_integer(self) -> bool:
        written = [n for n in (self.low, self.high, self.step) if n is not None]
        return self.type == "int" or (self.type is None and bool(written) and all(isinstance(n, int) for n in written))


def _is_finite(value: Any) -> bool:
    """Whether every number in it is: a study's journal is JSON."""
    if isinstance(value, (list, dict)):
        return all(_is_finite(one) for one in (value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or math.isfinite(value)


def _listed(value: Any) -> Any:
    return {"choices": value} if isinstance(value, list) else value


def _seconds(value: Any) -> Any:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", value) if isinstance(value, str) else None
    if isinstance(value, str) and not found:
        raise ValueError("expected seconds, or a text such as 90s, 30m, 2h, 1.5d")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]] if found else value


SearchParameter = Annotated[ParameterSection, BeforeValidator(_listed)]
Duration = Annotated[float, BeforeValidator(_seconds), Field(gt=0)]
"""Seconds, or a text such as ``90s``, ``30m``, ``2h``, ``1.5d``."""


class LimitSection(Section):
    min: float | None = Field(None, description="the least that is admissible")
    max: float | None = Field(None, description="the most that is admissible")

    @model_validator(mode="after")
    def _admits_something(self):
        if self.min is None and self.max is None:
            raise ValueError("expected min, max, or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min is {self.min:g}, max is {self.max:g}: nothing is admissible")
        return self


class SearchSection(Section):
    """What ``drivetrain search`` does; ``train`` passes it over."""

    space: dict[str, SearchParameter] = Field(min_length=1, description="recipe keys, dotted -> their values")
    objective: str | list[str] | dict[str, Literal["max", "min"]] | None = Field(
        None,
        description="figures of an evaluation, with their direction; null: checkpoint.best or the only metric",
    )
    constraints: dict[str, LimitSection] = Field({}, description="figures that the best trial must keep within limits")
    algorithm: PluginSection = Field({}, description="what proposes trials; null: chosen by space and budget")
    scheduler: PluginSection = Field({}, description="what stops trials early or lets them go on; null: all run to their end")
    executor: PluginSection = Field({}, description="where trials run; null: on this machine")
    trials: Count | None = Field(None, description="how many at the most; null: as many as the budget allows")
    budget: Duration | None = Field(None, description="for how long, in seconds or as 90s, 30m, 2h, 1d; null: no limit")
    ranks: Count = Field(1, description="ranks of a trial")
    retries: int = Field(1, ge=0, description="how often a trial that crashed is started again")
    given: list[dict[str, Any]] = Field([], description="points that are tried first; what they leave out is drawn")
    warm_start: list[str] = Field([], description="folders of earlier studies: what the algorithm knows before it proposes")


class Sections(Section):
    """A recipe, whole."""

    about: dict[str, Any] = Field({}, description="what it is, for readers; nothing reads it")
    seed: int = Field(0, ge=0, description="of weights, order and augmentation")
    data: DataSection
    transforms: dict[str, PluginSection] = {}
    model: PluginSection
    loader: PluginSection = {}
    batch: BatchSection
    precision: Literal["fp32", "bf16"] = Field("fp32", description="of the forward and backward pass")
    parallelism: PluginSection = {}
    optimizer: PluginSection = {}
    lr_schedule: PluginSection = {}
    ema: EmaSection | None = Field(None, description="a running mean of the weights, which is what is evaluated; null: none")
    train: TrainSection
    evaluation: EvaluationSection = Field(default_factory=lambda: EvaluationSection.model_validate({}))
    checkpoint: CheckpointSection = Field(default_factory=lambda: CheckpointSection.model_validate({}))
    metrics: dict[str, PluginSection] = {}
    tracker: dict[str, PluginSection] = {}
    gates: dict[str, Gate] = Field({}, description="metric, or a name -> what must be reached, or the run fails")
    search: SearchSection | None = Field(None, description="a study over this recipe, for `drivetrain search`")

    def wrong_tiles(self, tasks: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
        """(what, its key): what cannot be put together from tiles."""
        cut = {"lanes": "lane_detection" in tasks, "clips": self.data.clip.frames > 1, "sweeps": bool(self.data.lidars)}
        if self.evaluation.tiles and any(cut.values()):
            names = ", ".join(name for name, is_there in cut.items() if is_there)
            yield f"{names} cannot be put together from tiles", ("evaluation", "tiles")


def core_keys(section: str) -> type[Section]:
    """The core's own keys in a plugin section."""
    own: dict[str, type[Section]] = {"model": ModelKeys, "optimizer": OptimizerKeys}
    return own.get(section, EntryKeys if section in NAMED else PluginKeys)
