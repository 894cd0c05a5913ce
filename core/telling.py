"""What rank 0 lets the world know of a run: records, trackers, plugins, the terminal."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .checkpoint import Checkpoint
from .contracts import Panel, Tracker, TrackerContext
from .evaluate import drawn_classes, figures, save_panels
from .run import append_record
from .scoring import flat

if TYPE_CHECKING:
    from .train import Training


class Telling:
    """Of ``run``, which goes on from ``resume`` if there is one. On other ranks it does nothing, but for `stepped`, which only
    rank 0 has the figures for."""

    def __init__(self, run: Training, resume: Checkpoint | None):
        self.run, self.is_main = run, run.comm.is_main
        self.run_id: str = run.folder.info()["id"] if self.is_main else ""
        self.tracker_ids = _trackers_of(resume, self.run_id) if resume and self.is_main else {}
        self._trackers: dict[str, Tracker] = {}

    def started(self) -> None:
        if not self.is_main:
            return
        if not self.run.trial:
            self._start_trackers()
        self.tell("run_started")

    def stepped(self, step: int, values: dict[str, Any]) -> None:
        append_record(self.run.folder.metrics, {"kind": "training", "step": step, **values})
        for tracker in self._trackers.values():
            tracker.log(step, _numbers("train", values))
        note = f"loss {values['loss']:.4f}  lr {values['lr']:.2e}  waiting for data {100 * values['waiting']:.0f}%"
        self.run.progress.advance(step, note)
        self.tell("metrics_logged", step=step, metrics=values)

    def evaluated(self, step: int, panels: list[Panel], predictions: Path) -> None:
        if not self.is_main:
            return
        run = self.run
        _keep_newest(predictions)
        save_panels(panels, drawn_classes(run.recipe, run.loader), run.folder.path / "pictures" / f"step-{step:08d}")
        append_record(run.folder.metrics, {"kind": "evaluation", "step": step, **run.results})
        shown = figures(run.recipe, run.results)
        run.progress.say(f"step {step}: " + "  ".join(f"{k} {v:.4f}" if v is not None else f"{k} -" for k, v in shown.items()))
        for tracker in self._trackers.values():
            tracker.log(step, _numbers("val", run.results))
            tracker.panels(step, panels)
        self.tell("evaluation_finished", step=step, results=run.results)

    def best(self, name: str, value: float, step: int) -> None:
        for tracker in self._trackers.values():
            tracker.summary({f"best/{name}": value, "best/step": step})

    def saved(self, path: Path, step: int) -> None:
        self.tell("checkpoint_saved", path=path, step=step)

    def finished(self, error: BaseException | None) -> None:
        for tracker in self._trackers.values():
            tracker.finish(error)
        self.tell("run_finished", error=error)

    def tell(self, event: str, **arguments: Any) -> None:
        """Plugins; what goes wrong there is said and ends nothing."""
        if self.is_main:
            for trouble in self.run.manager.notify(event, run=self.run, **arguments):
                self.run.progress.say(f"warning: {trouble}")

    def _start_trackers(self) -> None:
        run, info = self.run, self.run.folder.info()
        for name, chosen in run.recipe.trackers.items():
            context = TrackerContext(
                run_dir=run.folder.path, name=info["name"], recipe=run.recipe.resolved(),
                job_type=info.get("job_type", "train"), classes=run.recipe.classes, group=info.get("group"),
                resume_id=self.tracker_ids.get(name), about=run.recipe.about,
            )  # fmt: skip
            self._trackers[name] = tracker = chosen.build(context)
            if tracker.run_id is not None:
                self.tracker_ids[name] = tracker.run_id


def _trackers_of(resume: Checkpoint, run: str) -> dict[str, str]:
    """Trackers' own ids of this run; none where the weights are those of another, as a population's trials take them over."""
    return dict(resume.state.get("trackers", {})) if resume.state.get("run", run) == run else {}


def _keep_newest(newest: Path) -> None:
    for old in newest.parent.iterdir():
        if old != newest and re.fullmatch(r"step-\d+", old.name):  # what `eval` wrote is named by its split too
            shutil.rmtree(old, ignore_errors=True)


def _numbers(prefix: str, values: Mapping[str, Any]) -> dict[str, float]:
    """Those of nested mappings, names joined by a slash."""
    return {"/".join((prefix, *path)): value for path, value in flat(values)
            if isinstance(value, (int, float)) and not isinstance(value, bool)}  # fmt: skip
