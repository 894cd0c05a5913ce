"""A study made of a recipe, or gone on with."""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..data import absent_data
from ..errors import RecipeError, UserError
from ..files import write_text
from ..manager import get_manager
from ..recipe import Chosen, Recipe, compare, load_recipe
from ..recipe_sources import write_yaml
from ..scoring import flat
from .asking import Asked, check_figures, check_population, choose_algorithm, read_search, told, told_at, trial_recipe
from .board import Board
from .contracts import ExecutorContext, TrialExecutor
from .controller import Controller, Limits
from .earlier import Observation, observations_from, read_earlier
from .folder import LAYOUT, StudyFolder
from .journal import Journal, read_journal
from .lease import Lease
from .ledger import Ledger
from .proposer import Proposer
from .space import Values, space_as_json
from .trials import OUTCOMES, PAUSED, Objectives, Trial

FREE = ("search.trials", "search.budget", "search.executor", "search.ranks", "search.retries", "search.algorithm", "about",
        "tracker", "train.log_every", "train.timeout_s", "train.grace_s", "loader")  # fmt: skip
"""What may change from one session of a study to the next: the rest would make trials that cannot be compared."""


class Study:
    """A study that this process runs: made new, or gone on with. Raises UserError before anything is started."""

    def __init__(self, recipe: Recipe, folder: Path, say: Callable[[str], None], words: Sequence[str] = ()):
        self.asked, self.folder, self._say = read_search(recipe), StudyFolder(folder), say
        self.board: Board | None = None
        check_figures(self.asked)
        if self.asked.scheduler.found.declaration.changes_trials:
            check_population(self.asked)
        self.algorithm, why = choose_algorithm(self.asked)
        with told_at(recipe, "search.scheduler"):
            self.scheduler = self.asked.scheduler.build(self.asked.scheduler_context())
        self.earlier = self._read_earlier()
        with told_at(recipe, "search.algorithm"):
            self.proposer = self._proposer()
        with told_at(recipe, "search.executor"):
            self.executor: TrialExecutor = self.asked.executor.build(self._executor_context(words))
        self._check_data()
        self.lease = Lease(folder)
        self.signal: int | None = None
        self.say(f"study {folder}: {_summary(self.asked, self.algorithm, why)}")

    def run(self) -> str:
        """Until it is over or told to rest; returns why."""
        self._begin()
        before = {number: signal.signal(number, self._hear) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
        try:
            journal = Journal(self.folder.journal, self.lease.check)
            self._check_same(journal)
            self.controller = Controller(
                Ledger(self.asked.objectives), journal, self.proposer, self.scheduler, self.executor, self._limits(),
                self._refusal, self._tell, self._asked_to_stop,
            )  # fmt: skip
            with self._board() as self.board:
                why = self.controller.run()
            self._write_best()
            journal.close()
            return why
        finally:
            self.board = None
            self.lease.release()
            for number, handler in before.items():
                signal.signal(number, handler)

    @property
    def ledger(self) -> Ledger:
        return self.controller.ledger

    def say(self, text: str) -> None:
        """A line of its own, above the table while there is one."""
        (self.board.say if self.board is not None else self._say)(text)

    def _board(self) -> Board:
        limits, pauses_end = self._limits(), not self.asked.scheduler.found.declaration.changes_trials
        steps, rungs = self.asked.recipe.train.steps, self.scheduler.rungs
        return Board(steps, rungs, limits.trials, limits.seconds, pauses_end, self._say)

    def _hear(self, number: int, _: object) -> None:
        """The first signal makes the trials save and leave, a second SIGINT ends at once."""
        if self.signal == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.signal = number
        self.say(f"{signal.Signals(number).name}: the trials save and leave")

    # ---- beginning

    def _begin(self) -> None:
        path = self.folder.path
        known = {"journal", "recipe.yaml", "trials", "best.yaml", "stop", "controller.json"}
        if not self.folder.journal.exists() and path.exists():
            others = [p.name for p in path.iterdir() if p.name not in known and not p.name.startswith(".")]
            if others:
                raise UserError(f"{path} holds files but is no study", remedy="name a new or an empty folder with --study")
        path.mkdir(parents=True, exist_ok=True)
        self.lease.take()
        self.folder.stop_file.unlink(missing_ok=True)

    def _check_data(self) -> None:
        """Without it every trial would count as infeasible, and be lost."""
        absent = next(absent_data(self.asked.recipe), None) if self.executor.HERE else None
        if absent is not None:
            began = next((record.get("cwd") for record in read_journal(self.folder.journal)), None)
            elsewhere = f"\n{_go_on_from(began)}" if began and Path(began) != Path.cwd() else ""
            raise RecipeError(f"no folder {absent[1]} here", where=absent[0],
                              remedy=f"a relative one is looked for in {Path.cwd()}{elsewhere}")  # fmt: skip

    def _read_earlier(self) -> list[Observation]:
        """From the earlier studies; once this one has begun, from its own journal."""
        records = read_journal(self.folder.journal)
        if records:
            return observations_from(records[0].get("earlier", ()))
        with told_at(self.asked.recipe, "search.warm_start"):
            return read_earlier(self.asked, self.scheduler.rungs, self.say)

    def _check_same(self, journal: Journal) -> None:
        """A new study is written down; one that goes on has the recipe that it began with."""
        objectives, resolved = self.asked.objectives, self.asked.recipe.resolved()
        if journal.records:
            self._check_places(resolved, Path(journal.records[0].get("cwd", "")))
            changes = compare(self._before(journal), resolved)
            for key, old, new in changes:
                self.say(f"changed since {self.folder.path} began: {key}: {old} -> {new}")
            refused = [key for key, _, _ in changes if not any(key == f or key.startswith(f + ".") for f in FREE)]
            if refused:
                what = f"{self.folder.path} cannot go on with another {', '.join(refused)}"
                raise RecipeError(f"{what}: its trials could not be compared",
                                  remedy="name a new --study; its search.given may hold what was found")  # fmt: skip
        write_text(self.folder.recipe, write_yaml(self.asked.recipe.root.plain))
        if not journal.records:
            limits = {name: list(limit) for name, limit in objectives.limits.items()}
            record = {"kind": "study", "layout": LAYOUT, "cwd": str(Path.cwd()), "recipe": resolved,
                      "objectives": dict(objectives.directions), "limits": limits,
                      "steps": self.asked.recipe.train.steps, "parameters": [p.name for p in self.asked.space.parameters],
                      "space": space_as_json(self.asked.space), "rungs": list(self.scheduler.rungs),
                      "earlier": [asdict(one) for one in self.earlier]}  # fmt: skip
            journal.append(record)
            journal.commit()

    def _check_places(self, resolved: Mapping[str, Any], began: Path) -> None:
        """Raises RecipeError where paths lead elsewhere than from the working directory in which the study began: no trial
        would find its data."""
        leaves: Iterable[tuple[tuple[str, ...], Any]] = flat(resolved)
        paths = {".".join(key): v for key, v in leaves if isinstance(v, str) and "/" in v and (began / v).exists()}
        moved = [key for key, v in paths.items() if not Path(v).exists() or not Path(v).samefile(began / v)]
        if moved:
            raise RecipeError(f"from here {', '.join(moved)} would lead elsewhere than where {self.folder.path} began",
                              remedy=_go_on_from(began))  # fmt: skip

    def _before(self, journal: Journal) -> dict[str, Any]:
        """The recipe that the study began with: of its journal, since somebody may have edited the file."""
        began = journal.records[0].get("recipe")
        before = Recipe.from_resolved(began, source=str(journal.path)) if began else load_recipe(self.folder.recipe)
        return before.resolved()

    def _proposer(self) -> Proposer:
        name = self.algorithm.found.declaration.name
        return Proposer(self.asked.space, self.scheduler.rungs, lambda n: self.algorithm.build(self.asked.algorithm_context(n)),
                        name, self.asked.recipe.seed, self.asked.section.given, self.earlier)  # fmt: skip

    def _limits(self) -> Limits:
        section = self.asked.section
        return Limits(section.trials, section.budget, section.retries)

    def _executor_context(self, words: Sequence[str]) -> ExecutorContext:
        objectives, recipe = self.asked.objectives, self.asked.recipe
        own = {entry: chosen.found.declaration.name for entry, chosen in recipe.metrics.items()}
        return ExecutorContext(
            folder=self.folder.path, steps=recipe.train.steps, ranks=self.asked.section.ranks,
            figures=(*objectives.directions, *objectives.limits), own_figures=own, grace_s=recipe.train.grace_s,
            write_recipe=self._write_recipe, words=words, say=self.say,
        )  # fmt: skip

    # ---- what the controller asks for and tells

    def _refusal(self, values: Values) -> str | None:
        try:
            varied = trial_recipe(self.asked.recipe, values)
        except RecipeError as error:
            return error.text()
        ranks, slots = self.asked.section.ranks, varied.batch.slots
        return f"{ranks} ranks do not divide the {slots} micro-batches of a step" if slots % ranks else None

    def _write_recipe(self, values: Values, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, write_yaml(trial_recipe(self.asked.recipe, values).resolved()))

    def _asked_to_stop(self) -> str | None:
        """Asked in every round of the controller."""
        if self.board is not None:
            self.board.show(self.ledger, self.ledger.before + self.executor.clock())
        if self.signal is not None:
            return f"{signal.Signals(self.signal).name} came"
        return "it was told to stop" if self.folder.stop_file.exists() else None

    def _tell(self, trial: Trial) -> None:
        if trial.state not in (*OUTCOMES, PAUSED):
            return
        shown = "  ".join(f"{n} {v:.4f}" if v is not None else f"{n} -" for n, v in trial.figures.items())
        why = f" ({trial.why.splitlines()[0]})" if trial.why else ""
        best = self.ledger.best
        parts = "  ".join(part for part in (shown, "best" * (best is trial), told(trial.values)) if part)
        self.say(f"trial {trial.number} {trial.state}{why} at step {trial.step}: {parts}")
        if best is trial:
            self._write_best()

    def _write_best(self) -> None:
        best = self.ledger.best
        if best is not None:
            write_text(
                self.folder.path / "best.yaml", best_recipe(self.folder, best, self.ledger.objectives, self.asked.recipe)
            )


def _go_on_from(began: str | Path) -> str:
    return f"go on from where it began: cd {shlex.quote(str(began))}"


def best_recipe(folder: StudyFolder, trial: Trial, objectives: Objectives, recipe: Recipe) -> str:
    """The text of a recipe with a trial's values, that `drivetrain train` runs."""
    resolved, asked = trial_recipe(recipe, trial.values).resolved(), recipe.resolved()
    resolved["gates"] = asked["gates"]  # what trials alone needed is as it was
    for section, key in (("evaluation", "at_end"), ("evaluation", "cost"), ("checkpoint", "at_end")):
        resolved[section][key] = asked[section][key]
    shown = ", ".join(f"{name} {value:.6g}" for name, value in objectives.shown(trial.losses or ()).items())
    head = [f"# Trial {trial.number} of {folder.path.name} ({trial.state}): {shown} after step {trial.step}.",
            *(f"#   {name}: {json.dumps(value)}" for name, value in trial.values.items())]  # fmt: skip
    if trial.weights is not None:
        head.append("# It took over weights on its way: these values are its last ones. The journal has its lineage.")
    resolved.pop("search", None)
    return "\n".join([*head, write_yaml(resolved)])


def open_study(recipe: str, overrides: Iterable[str], folder: Path, say: Callable[[str], None],
               words: Sequence[str] = ()) -> Study:  # fmt: skip
    return Study(load_recipe(recipe, overrides, get_manager()), folder, say, words)


def _summary(asked: Asked, algorithm: Chosen, why: str) -> str:
    goals = ", ".join(f"{name} ({direction})" for name, direction in asked.objectives.directions.items())
    scheduler = asked.scheduler.found.declaration.name
    return f"{goals} over {', '.join(p.name for p in asked.space.parameters)}; algorithm {algorithm.found.declaration.name} " \
           f"({why}), scheduler {scheduler}, executor {asked.executor.found.declaration.name}"  # fmt: skip
