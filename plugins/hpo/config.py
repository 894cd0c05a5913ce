"""Settings of search algorithms, trial schedulers and executors."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from drivetrain import PluginConfig

Count = Annotated[int, Field(ge=1)]


class GridConfig(PluginConfig):
    points: int = Field(4, ge=2, description="values of a parameter that can have any number of them")


class StartupConfig(PluginConfig):
    startup: Count = Field(10, description="trials at random before there is a model")


class BayesConfig(StartupConfig):
    candidates: Count = Field(300, description="random points looked at for each proposal")
    climbs: int = Field(8, ge=0, description="times that neighbours of the best of them are looked at")
    fit_steps: Count = Field(15, description="steps of the fit of the model's length scales, from where they stand")


class TpeConfig(StartupConfig):
    candidates: Count = Field(24, description="points drawn for each proposal")


class CmaEsConfig(StartupConfig):
    sigma: float | None = Field(
        None, gt=0, description="the first step's size; null: a sixth of the ranges, or what a warm start says"
    )  # fmt: skip


class QmcConfig(PluginConfig):
    sequence: Literal["sobol", "halton"] = Field("sobol", description="which points")


class Nsga2Config(PluginConfig):
    population: int = Field(20, ge=2, description="members of a generation")
    mutation: float | None = Field(None, ge=0, le=1, description="a parameter's chance to be drawn anew; null: one of them")


class GeneticConfig(PluginConfig):
    islands: Count = Field(2, description="populations that evolve apart")
    population: int = Field(10, ge=2, description="members of an island; its first trials, as many, are drawn at random")
    migrate_every: Count = Field(10, description="trials of an island after which its best go to the next one in the ring too")
    migrants: Count = Field(1, description="how many of them")
    tournament: Count = Field(2, description="members of which the best becomes a parent; more: less patience with the others")
    crossover: float = Field(0.9, ge=0, le=1, description="a child's chance to have two parents")
    crossover_eta: float = Field(5.0, gt=0, description="how near to a parent's a child's numbers are; more: nearer")
    mutation: float | None = Field(None, ge=0, le=1, description="a parameter's chance to change; null: one of them")
    mutation_eta: float = Field(10.0, gt=0, description="how little a number changes then; more: less")


class MedianConfig(PluginConfig):
    warmup_steps: int = Field(0, ge=0, description="steps of a trial before it may be stopped")
    startup: Count = Field(5, description="trials that must have come as far")
    quantile: float = Field(0.5, gt=0, lt=1, description="share of the others that is to be better for a trial to be stopped")


class HalvingConfig(PluginConfig):
    first: Count | None = Field(None, description="steps of the first rung; null: steps / eta^3")
    eta: float = Field(4, gt=1, description="of a rung's trials, one in so many goes on; rungs are so many times apart")
    mode: Literal["promote", "stop"] = Field(
        "promote", description="promote: trials leave at each rung, the best go on from their checkpoints; stop: they stay, "
        "the others are stopped, at once and for good: no start-up is paid twice"
    )  # fmt: skip


class HyperbandConfig(HalvingConfig):
    brackets: Count | None = Field(None, description="how many of the rungs are some trials' first one; null: all but the last")


class PbtConfig(PluginConfig):
    population: int = Field(8, ge=2, description="members; as many trials are begun")
    interval: Count | None = Field(None, description="steps from one comparison to the next; null: a tenth of the steps")
    quantile: float = Field(0.25, gt=0, le=0.5, description="share of the worst, which take over from the best")
    quorum: float = Field(
        1.0, gt=0, le=1, description="share of the members that have come as far before one is compared; less: no waiting"
    )
    resample: float = Field(
        0.25, ge=0, le=1, description="a hyperparameter's chance to be drawn anew instead of changed a little"
    )
    parents: Literal[1, 3] = Field(1, description="3: two of the best give hyperparameters, a third one weights")


class LocalConfig(PluginConfig):
    slots: Count | None = Field(None, description="ranks at a time; null: a GPU each, or one trial's on a machine without")
    share: Count = Field(1, description="ranks that share a GPU")
    trials: Count | None = Field(None, description="trials at a time at the most; null: as many as there are slots for")
    memory_gb: float | None = Field(None, gt=0, description="host memory of a trial, which must be free for one more to start")


class SlurmConfig(PluginConfig):
    mode: Literal["batch", "steps"] | None = Field(
        None, description="batch: an sbatch job a trial; steps: srun in the allocation that the search runs in; null: steps "
        "where there is one"
    )  # fmt: skip
    trials: Count | None = Field(
        None, description="trials at a time at the most, waiting ones too; null: 8 batch jobs, or as many steps as have room"
    )  # fmt: skip
    partition: str | None = Field(None, description="of batch jobs")
    account: str | None = Field(None, description="of batch jobs")
    time: str | None = Field(
        None, description="limit of a batch job, as sbatch takes it; a trial that needs more goes on in another"
    )
    cpus: Count = Field(1, description="of a rank")
    gpus: int = Field(0, ge=0, description="of a rank")
    options: list[str] = Field([], description="more options of sbatch (steps: of srun), such as --qos=long")
    setup: list[str] = Field([], description="lines of shell before the launcher in a batch job, such as module load cuda")
    poll_s: float = Field(10.0, gt=0, description="seconds from one squeue to the next")


class RayConfig(PluginConfig):
    address: str | None = Field(None, description="of the cluster; null: RAY_ADDRESS, or the one that this host is part of")
    trials: Count | None = Field(None, description="trials at a time at the most; null: as many as the cluster has room for")
    cpus: float = Field(1.0, ge=0, description="of a rank")
    gpus: int = Field(0, ge=0, description="of a rank")


class SimulatedConfig(PluginConfig):
    objective: str = Field(description="package.module:function, of (values, step), that returns figures")
    slots: Count = Field(4, description="trials at a time")
    seconds_per_step: float = Field(1.0, gt=0, description="on the virtual clock")
    startup_s: float = Field(0.0, ge=0, description="of each start of a job")
    every: Count | None = Field(None, description="steps from one report to the next; null: where a job ends")
