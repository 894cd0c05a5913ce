"""``drivetrain eval``: a checkpoint of a run against a split of its data, its gates, and another run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..errors import GATE_FAILED
from ..manager import get_manager
from .train import say, tell_gates

if TYPE_CHECKING:
    from ..contracts import Metric
    from ..gates import Verdict
    from ..predictor import Predictor
    from ..recipe import Recipe
    from ..slices import Slices


def evaluate(
    run: Path = typer.Argument(..., help="A run's folder."),
    checkpoint: str = typer.Option("newest", "--checkpoint", help="newest, best, or the number of a step."),
    split: str = typer.Option("val", "--split", help="val or train."),
    against: Path = typer.Option(None, "--against", help="A reference run, evaluated on the same frames."),
    against_checkpoint: str = typer.Option("newest", "--against-checkpoint", help="Of the reference run."),
    onnx: Path = typer.Option(None, "--onnx", help="What `export` wrote, in the model's place and held against the model."),
    where: list[str] = typer.Option([], "--where", help="A slice beside the recipe's: tags.weather == 'rain'. Repeatable."),
    raw: bool = typer.Option(False, "--raw", help="The weights as they were trained, not their running mean (ema)."),
    panels: int = typer.Option(8, "--panels", min=0, help="How many pictures to leave."),
    draws: int = typer.Option(1000, "--draws", min=1, help="Of the bootstrap over scenes: intervals of gates, differences."),
    as_json: bool = typer.Option(False, "--json", help="For programs: every detail."),
) -> None:
    """Score a checkpoint, or its export, and leave its prediction set and pictures in the run. Works under a launcher too.

    Exit code 3: a gate of the recipe failed.
    """
    from ..comm import Comm
    from ..errors import UserError, near_matches
    from ..evaluate import build_metrics, save_panels
    from ..exported import ExportedModel
    from ..predictor import Predictor
    from ..run import RunFolder

    if split not in ("val", "train"):
        raise UserError(f"--split {split}: a recipe has train and val", near=near_matches(split, ("val", "train")))
    comm = Comm.start()
    folder, tell = RunFolder(run), say if comm.is_main else lambda _: None
    predictor = Predictor(folder, comm, get_manager(), checkpoint, tell, raw)
    exported = None if onnx is None else comm.together(lambda: ExportedModel(onnx, predictor, comm.cores))
    name = f"step-{predictor.checkpoint.step:08d}-{split}" + ("-onnx" if onnx else "")
    asked = comm.together(lambda: _Asked.of(predictor, split, where))
    results, shown = predictor.evaluate(folder.predictions / name, split, None, panels, asked.metrics, asked.slices, exported)
    reference, theirs = predictor if onnx else None, None
    if against is not None:
        reference = Predictor(RunFolder(against), comm, get_manager(), against_checkpoint, tell, raw)
    if reference is not None:
        tell(f"against {reference.folder.path} after step {reference.checkpoint.step}")
        theirs = build_metrics(predictor.recipe)
        reference.evaluate_as(predictor.recipe, folder.predictions / f"{name}-against", split, theirs)
    report = lambda: _report(asked, results, theirs, against is not None, draws, as_json) if comm.is_main else []
    verdicts = comm.together(report)
    if comm.is_main:
        save_panels(shown, predictor.drawn_classes(), folder.path / "pictures" / name)
        say(f"{folder.path} after step {predictor.checkpoint.step}, {split}: predictions in {folder.predictions / name}")
    comm.close()
    if comm.is_main and tell_gates(verdicts):
        raise typer.Exit(GATE_FAILED)


@dataclass(frozen=True)
class _Asked:
    """What a run's recipe asks of an evaluation, and ``--where``."""

    recipe: Recipe
    metrics: Mapping[str, Metric]
    slices: Slices

    @staticmethod
    def of(predictor: Predictor, split: str, where: list[str]) -> _Asked:
        from ..building import build_loader
        from ..evaluate import build_metrics
        from ..gates import check_gates
        from ..slices import Slices

        recipe = predictor.recipe
        metrics = build_metrics(recipe)
        check_gates(recipe, metrics)
        named = {**recipe.evaluation.slices, **{text: text for text in where}}
        slices = Slices.open(named, recipe.data_spec_sources(split), build_loader(recipe))
        return _Asked(recipe, metrics, slices)


def _report(asked: _Asked, results: dict[str, Any], theirs: Mapping[str, Metric] | None, other_run: bool, draws: int,
            as_json: bool) -> list[Verdict]:  # fmt: skip
    """Print it; the gates' verdicts. ``other_run``: whether ``theirs`` are a reference run's, which gates are held against."""
    from ..gates import check_same_frames, groups, judge_closely
    from ..progress import Progress
    from ..scoring import differences
    from ..slices import scored_of

    scored, reference = scored_of(asked.metrics), None if theirs is None else scored_of(theirs)
    with Progress("resampling", draws * (len(groups(asked.recipe)) + len(reference or ())), "draw") as progress:
        ticks = iter(range(1, 2**62))
        tick = lambda *_: progress.advance(next(ticks))
        verdicts = judge_closely(asked.recipe, results, scored, reference if other_run else None, asked.slices, draws, 0, tick)
        for entry, other in (reference or {}).items():
            ours = scored[entry]
            check_same_frames([ours, other])
            times = asked.slices.times(ours, None)
            results.setdefault("against", {})[entry] = other.figures(times)
            results.setdefault("difference", {})[entry] = differences(ours, other, times, _numbers(ours.scenes), draws, 0, tick)
    results["gates"] = [one.as_json() for one in verdicts]
    print(json.dumps(results) if as_json else "\n".join(_lines(asked.recipe, results)))
    return verdicts


def _numbers(scenes: Any) -> Any:
    import numpy as np

    return np.unique(scenes, return_inverse=True)[1]


def _lines(recipe: Recipe, results: Mapping[str, Any]) -> Iterator[str]:
    """For people: each metric's own figure, of the whole and of slices, against the reference, and mistakes by kind."""
    from ..scoring import compared, number, table

    for entry, chosen in recipe.metrics.items():
        name = chosen.found.declaration.name
        yield f"{entry} {number(results[entry][name])}"
        for part, figures in results.get("slices", {}).items():
            if entry in figures:
                yield f"{entry} on {part} {number(figures[entry][name])} ({figures[entry]['frames']} frames)"
        if entry in results.get("difference", {}):
            sides = (results[entry], results["against"][entry], results["difference"][entry])
            yield from compared(*({name: side[name]} for side in sides))
        if "errors" in results[entry]:
            yield from table({f"{entry} errors": results[entry]["errors"]})
