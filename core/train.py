"""The training loop, and what a run is made of on one rank."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch

from .batch import Batch
from .building import build_loader, build_model, data_spec, prepare
from .checkpoint import Checkpoint
from .comm import Comm
from .contracts import EngineContext, StepResult
from .curves import draw_curves
from .errors import DataError, DivergedError, DrivetrainError, UserError, no_place
from .evaluate import build_metrics, evaluate, figures
from .gates import check_gates
from .groups import build_optimizer
from .manager import PluginManager
from .prediction import Prediction
from .progress import Progress
from .recipe import Recipe
from .run import RunFolder, append_record
from .saving import Saver
from .seeding import hash_key
from .slices import Slices
from .telling import Telling
from .tiles import tiled
from .watch import Stop
from .worlds import check_slots


def train(run: Training) -> None:
    """Train from where the run stands to where the recipe ends it."""
    with run.life_cycle():
        for step in run.steps():
            result = run.engine.step(run.micro_batches(step))
            run.log(step, result)
            if run.is_due("evaluation", step):
                run.evaluate(step)
            if run.is_due("checkpoint", step):
                run.save(step)
        run.save_where_stopped()


class Training:
    """A run on one rank: its engine, its stream of batches, and where it stands. All ranks make one together.

    ``resume`` is the checkpoint to go on from. Raises UserError before the first step for what cannot work.
    """

    def __init__(self, recipe: Recipe, comm: Comm, folder: RunFolder, manager: PluginManager, resume: Checkpoint | None = None,
                 overfit: int | None = None, trial: bool = False):  # fmt: skip
        self.recipe, self.comm, self.folder, self.manager = recipe, comm, folder, manager
        self.overfit, self.trial = overfit, trial
        self.step = self._saved_at = resume.step if resume else 0
        self.best: dict[str, Any] | None = resume.state.get("best") if resume else None
        self.results: dict[str, Any] = last_evaluation(folder) if resume else {}
        self._evaluated_at = 0
        self.slices = Slices()
        self.progress = Progress("training", self._last_step(), "step", self.step, comm.is_main)
        self._read: list[list[str]] = []
        self._picture: tuple[int, int] | None = None
        self._skipped = self._skipped_in_a_row = 0
        self._waited = 0.0
        self._counted: dict[str, float] = {}
        self._logged, self._since = self.step, time.monotonic()
        self.telling = Telling(self, resume)
        comm.together(lambda: self._open_data(resume))
        states = comm.all_gather(self.stream.state(self.step))
        comm.together(lambda: _check_agreement(states))
        self.engine = self._build_engine(resume)
        self.saver = Saver(folder.checkpoints, comm, recipe.checkpoint, self.telling.saved, self.progress.say)

    # ---- what it is made of

    def _open_data(self, resume: Checkpoint | None) -> None:
        recipe, comm = self.recipe, self.comm
        check_slots(recipe, comm.world)
        self.loader = build_loader(recipe)
        threads = recipe.train.threads if recipe.train.threads is not None else comm.cores
        pin = comm.device.type == "cuda"
        self._reading: dict[str, Any] = {"rank": comm.rank, "world": comm.world, "threads": threads, "pin": pin}
        self.stream = self.loader.training(
            data_spec(recipe, "train"), batch_global=recipe.batch.global_, batch_micro=recipe.batch.micro, **self._reading
        )
        self.stream.quarantine_path = self.folder.path / "quarantine.jsonl"
        if resume and (differences := self.stream.resume(resume.state["loader"])):
            raise UserError("the order of samples is not that of the checkpoint:\n  " + "\n  ".join(differences),
                            remedy="start a new run, from these weights if you like: model.init_from")  # fmt: skip
        if recipe.data.val:
            self._check_evaluation()
        self.batches = self._batches()

    def _check_evaluation(self) -> None:
        """Raises, before the first step, DataError for a split that is missing or empty, RecipeError for slices and gates that
        cannot be told."""
        stream = self._evaluation_stream()
        stream.close()
        if not len(stream):
            raise DataError("there is nothing to evaluate on: the split is empty", where=self.recipe.where("data.val"))
        check_gates(self.recipe, build_metrics(self.recipe))
        if self.comm.is_main:
            self.slices = Slices.open(self.recipe.evaluation.slices, self.recipe.data_spec_sources("val"), self.loader)

    def _evaluation_stream(self) -> Any:
        recipe = self.recipe
        micro = recipe.evaluation.batch or recipe.batch.micro
        return self.loader.evaluation(data_spec(recipe, "val"), batch_micro=micro, **self._reading)

    def _build_engine(self, resume: Checkpoint | None) -> Any:
        recipe = self.recipe
        lr_factor = recipe.optimizer.lr_factor(recipe.batch.global_)
        context = EngineContext(
            comm=self.comm,
            build_model=lambda: prepare(build_model(recipe, self.progress.say, resume), recipe),
            build_optimizer=lambda model: build_optimizer(recipe.plugin("optimizer").build, model, recipe.optimizer, lr_factor),
            lr_factor=recipe.plugin("lr_schedule").build(recipe.train.steps),
            precision=recipe.precision,
            accumulation=self._accumulation,
            micro_batch=recipe.batch.micro,
            clip=recipe.train.clip,
            check_steps=recipe.train.check_steps,
            ema=recipe.ema,
            compiled=recipe.train.compile,
        )
        engine = recipe.plugin("parallelism").build(context)
        if resume:
            engine.load(resume)
            resume.close()
        return engine

    @property
    def _accumulation(self) -> int:
        return self.recipe.batch.slots // self.comm.world

    # ---- what it does

    @contextmanager
    def life_cycle(self) -> Iterator[None]:
        """Trackers and plugins are told of the start and of the end, whatever it is."""
        error: BaseException | None = None
        try:
            self.telling.started()
            with self.progress:
                yield
                self.saver.wait()
            if self.comm.is_main and self.folder.info().get("job_type") != "trial":  # a study's page draws those of all trials
                draw_curves(self.folder.records(), self.folder.path / "curves.png")
        except BaseException as caught:
            error = caught
            if no_place(caught):  # of a run that has begun it is a fault of the disk, which a restart may find mended
                raise DrivetrainError(str(caught)) from caught
            raise
        finally:
            self.stream.close()
            self.saver.finish(error)
            self.telling.finished(error)

    def steps(self) -> Iterator[int]:
        """The numbers of the steps to do; the first step of a run is 1."""
        self._since = time.monotonic()
        while self.step < self._last_step() and self.comm.watch.begin(self.step + 1):
            self.saver.poll()
            self.step += 1
            yield self.step

    @property
    def stopped(self) -> Stop | None:
        """Why all ranks leave before the last step, if they do."""
        return self.comm.watch.stop if self.step < self._last_step() else None

    def save_where_stopped(self) -> None:
        if self.stopped is not None and self.step > self._saved_at:
            self.save(self.step)

    def micro_batches(self, step: int) -> Iterator[Batch]:
        """This rank's micro-batches of a step. Torch is seeded by (seed, step, slot) before each is used."""
        self._read = []
        for number in range(self._accumulation):
            began = time.monotonic()
            batch = next(self.batches)
            self._waited += time.monotonic() - began
            self.comm.watch.mark("computing")
            slot = self.comm.rank * self._accumulation + number
            torch.manual_seed(hash_key(self.recipe.seed, step, slot) >> 1)
            self._read.append(batch.keys)
            if self.recipe.train.record_samples:
                record = {"step": step, "slot": slot, "keys": batch.keys}
                append_record(self.folder.path / "samples" / f"rank-{self.comm.rank:05d}.jsonl", record)
            yield batch
            self.comm.watch.mark("reading data")
        self.comm.watch.mark("stepping")

    def log(self, step: int, result: StepResult) -> None:
        """One record of the step, over all ranks."""
        self._note_skipped(step, result)
        if step % self.recipe.train.log_every and step != self._last_step():
            return
        said = {
            "losses": [float(v) for v in result.losses],
            "parts": {name: [float(v) for v in values] for name, values in result.parts.items()},
            "samples": [hashlib.blake2b("\n".join(keys).encode(), digest_size=8).hexdigest() for keys in self._read],
            "waited": self._waited, "loading": self._loading(), "replaced": self._counted.get("replaced", 0),
        }  # fmt: skip
        ranks = self.comm.gather(said)
        elapsed, self._waited, self._since = time.monotonic() - self._since, 0.0, time.monotonic()
        if ranks is not None:
            self.telling.stepped(step, {**_mean_over_slots(ranks), **_rates(self, ranks, elapsed, step - self._logged, result)})
        self._logged = step

    def _note_skipped(self, step: int, result: StepResult) -> None:
        """Names the samples of a step that was not taken, on all ranks. Raises UserError after too many in a row."""
        if not result.skipped:
            self._skipped_in_a_row = 0
            return
        self._skipped, self._skipped_in_a_row = self._skipped + 1, self._skipped_in_a_row + 1
        ranks = self.comm.all_gather([k for k, loss in zip(self._read, result.losses) if not math.isfinite(loss)])
        guilty = [keys for of_rank in ranks for keys in of_rank]
        what = f"the loss of {len(guilty)} micro-batches" if guilty else "the gradient of finite losses"
        if self.comm.is_main:
            append_record(self.folder.path / "skipped.jsonl", {"step": step, "what": what, "keys": guilty})
            named = f": {', '.join(guilty[0])}{' ...' if len(guilty) > 1 else ''}" if guilty else ""
            self.progress.say(f"warning: step {step} was not taken, {what} is not finite{named}")
        if self._skipped_in_a_row >= (most := self.recipe.train.max_skipped):
            error = DivergedError(f"{most} steps in a row were not taken, up to step {step}: {what} is not finite", remedy=(
                f"their samples are listed in {self.folder.path / 'skipped.jsonl'}; lower the learning rate, set train.clip, "
                "or look at these samples' labels; the newest checkpoint is whole"))  # fmt: skip
            error.told = True
            raise error

    def _loading(self) -> dict[str, float]:
        """What reading has cost this rank since the last record: the stream's counters."""
        before, self._counted = self._counted, dict(self.stream.counters())
        return {name: value - before.get(name, 0) for name, value in self._counted.items()}

    def evaluate(self, step: int) -> None:
        """Metrics, predictions and pictures of the validation split."""
        self.comm.watch.mark("evaluating")
        self.engine.average_buffers()
        stream, known = self._evaluation_stream(), self.results.get("cost")
        try:
            about = {"run": self.folder.info()["id"], "step": step, "classes": self.recipe.classes, "split": "val"}
            out = self.folder.predictions / f"step-{step:08d}"
            with self.engine.averaged():
                self.results, panels = evaluate(
                    tiled(self._predict, self.recipe), stream, build_metrics(self.recipe), self.comm, out, about,
                    self.recipe.evaluation.panels, limit=2 if self.trial else None, slices=self.slices,
                )  # fmt: skip
        finally:
            stream.close()
        self._add_cost(known)
        self._evaluated_at = step
        self.telling.evaluated(step, panels, out)
        self._since = time.monotonic()

    def _add_cost(self, known: Mapping[str, float] | None) -> None:
        """What the model costs, to the results; as ``known`` of an earlier evaluation, since it stays the same."""
        if asked := self.recipe.evaluation.cost:
            from .cost import cost  # and what exports models, which few runs need

            known = self.comm.broadcast(known) or {}
            self.results["cost"] = known if set(known) >= set(asked) else cost(self.recipe, self.comm, self._picture)

    def _predict(self, batch: Batch) -> list[Prediction]:
        self.comm.watch.mark("evaluating")
        self._picture = next(((c.images.shape[1], c.images.shape[2]) for c in batch.cameras.values()), None)
        return self.engine.predict(batch)

    def save(self, step: int) -> None:
        """A checkpoint of this step; the newest few and the best stay."""
        self.comm.watch.mark("saving")
        self._saved_at = step
        self.engine.average_buffers()
        self._note_best(step)
        self.saver.begin(step, self.engine.save, self._state(step))
        self._since = time.monotonic()

    def is_due(self, what: str, step: int) -> bool:
        """Whether ``evaluation`` or ``checkpoint`` comes after this step."""
        if what == "evaluation" and not self.recipe.data.val:
            return False
        if self.trial:
            return True
        section = getattr(self.recipe, what)
        return bool(section.every and step % section.every == 0) or (section.at_end and step == self._last_step())

    # ---- inside

    def _last_step(self) -> int:
        steps, stop = self.recipe.train.steps, self.recipe.train.stop_at
        return 1 if self.trial else min(steps, stop) if stop else steps

    def _batches(self) -> Iterator[Batch]:
        if self.overfit is None:
            return self.stream.batches(self.step)
        kept = [b.keep() for b in islice(self.stream.batches(0), self.overfit * self._accumulation)]
        first = self.step * self._accumulation
        return (kept[(first + n) % len(kept)] for n in range(2**62))

    def _state(self, step: int) -> dict[str, Any]:
        recipe, telling = self.recipe, self.telling
        return {
            "step": step, "loader": self.stream.state(step), "seed": recipe.seed, "best": self.best,
            "tasks": recipe.tasks, "classes": recipe.classes, "recipe": recipe.resolved(),
            "trackers": telling.tracker_ids, "run": telling.run_id, "plugins": self.manager.digest(), "world": self.comm.world,
        }  # fmt: skip

    def _note_best(self, step: int) -> None:
        name = self.recipe.checkpoint.best
        if name is None or self._evaluated_at != step:
            return
        value = figures(self.recipe, self.results)[name]
        sign = 1 if self.recipe.metrics[name].found.declaration.direction == "max" else -1
        if value is not None and (self.best is None or sign * value > sign * self.best["value"]):
            self.best = {"metric": name, "value": value, "step": step}
            self.telling.best(name, value, step)


def last_evaluation(folder: RunFolder) -> dict[str, Any]:
    """The newest evaluation on record, empty if there is none."""
    found = [record for record in folder.records() if record["kind"] == "evaluation"]
    return found[-1] if found else {}


def _check_agreement(states: list[dict[str, Any]]) -> None:
    """Raises DataError where ranks opened different data, such as a set that is just being added to."""
    others = [rank for rank, state in enumerate(states) if state != states[0]]
    if others:
        raise DataError(f"other shards than rank 0 were opened by: rank {', '.join(map(str, others))}",
                        remedy="start again once nothing is written to the shard sets any more, "
                        "and see that all hosts read the same ones")  # fmt: skip


def _mean_over_slots(ranks: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over the micro-batches of all ranks, summed in the order of slots whatever the number of ranks."""
    losses = [v for rank in ranks for v in rank["losses"]]
    parts = {n: [v for rank in ranks for v in rank["parts"][n]] for n in ranks[0]["parts"]}
    samples = "".join(digest for rank in ranks for digest in rank["samples"])
    return {
        "loss": math.fsum(losses) / len(losses),
        "losses": {name: math.fsum(values) / len(values) for name, values in parts.items()},
        "samples": hashlib.blake2b(samples.encode(), digest_size=8).hexdigest(),
    }


def _rates(run: Training, ranks: list[dict[str, Any]], elapsed: float, steps: int, result: StepResult) -> dict[str, Any]:
    """``waiting`` is the share of time that the slowest rank waited for data, since that is what a step waits for;
    ``loading`` the streams' counters since the last record, all ranks together."""
    names = dict.fromkeys(name for rank in ranks for name in rank["loading"])
    loading = {name: math.fsum(rank["loading"].get(name, 0) for rank in ranks) for name in names}
    return {
        "lr": result.lr, "grad_norm": result.grad_norm, "skipped": run._skipped,
        "seconds": elapsed / steps, "samples_per_second": run.recipe.batch.global_ * steps / max(elapsed, 1e-9),
        "waiting": max(rank["waited"] for rank in ranks) / max(elapsed, 1e-9),
        "replaced": sum(rank["replaced"] for rank in ranks),
        "read_mb_per_second": loading.get("bytes", 0) / 1e6 / max(elapsed, 1e-9), "loading": loading,
    }  # fmt: skip
