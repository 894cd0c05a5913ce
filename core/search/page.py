"""A study as one HTML page that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..pages import bars, key_figures, table, write_page
from . import plots
from .asking import told
from .folder import StudyFolder
from .page_look import SCRIPT, STYLE
from .results import importances
from .story import Story
from .trials import Trial


def write_study_page(folder: StudyFolder, out: Path) -> None:
    """Raises UserError where there is no study."""
    story = Story(folder)
    name = folder.path.resolve().name
    parts = [f"<h1>Study {escape(name)}</h1>", _about(story), _key(story), *_sections(story), _trials(story)]
    texts = json.dumps([_text(story, t) for t in story.ledger.trials]).replace("<", "\\u003c")
    parts.append(f'<div id="tip"></div><script type="application/json" id="texts">{texts}</script>')
    write_page(out, f"Study {name}", "\n".join(part for part in parts if part), STYLE, SCRIPT)


def _about(story: Story) -> str:
    about = story.about
    goals = ", ".join(f"{name} ({direction})" for name, direction in about["objectives"].items())
    limits = story.ledger.objectives.kept()
    kept = f"; limits: {limits}" if limits else ""
    text = f"searched for {goals}{kept}; trials of {about['steps']:,} steps"
    return f'<div class="about">{escape(text)}</div>'


def _key(story: Story) -> str:
    ledger = story.ledger
    values = {"trials": f"{len(ledger.trials):,}"} | {state: f"{n:,}" for state, n in ledger.counts.items() if n}
    values["hours"] = f"{ledger.spent / 3600:.2f}"
    steps = sum(t.step for t in ledger.trials)
    if ledger.trials:
        values["of the steps of whole trials"] = f"{steps / len(ledger.trials) / story.about['steps']:.0%}"
    return key_figures(values) + _best(story)


def _best(story: Story) -> str:
    best = story.ledger.best
    if best is None:
        return f"<p>No best: {escape(story.ledger.why_no_best())}.</p>"
    rows = [(name, _cell(value)) for name, value in best.values.items()]
    what = "the best" if len(story.about["objectives"]) == 1 else "first of the front"
    head = f"{what}: trial {best.number} ({best.state}, step {best.step:,}): {_figures(story, best)}"
    return f"<h3>{escape(head)}</h3>{table(('parameter', 'value'), rows)}"


def _sections(story: Story) -> Iterable[str]:
    yield _wide("History", plots.history(story), _looks())
    if len(story.about["objectives"]) > 1:
        yield _grid("Pareto front", plots.fronts(story), "orange: no other trial beats it in all objectives; hollow: "
                    "beyond a limit", "plots big")  # fmt: skip
    yield _wide("Curves", plots.curves(story), "the strongest lines are the best trials")
    yield _rungs(story)
    yield _wide("Lineage", plots.lineage(story), "thick orange: how the best trial came about; colour of a stretch: its rank "
                "at its end, the strongest is the best")  # fmt: skip
    yield _schedule(story)
    yield _importance(story)
    yield _wide("Parallel coordinates", plots.parallel(story), "a line a trial; the strongest are the best that came furthest")
    yield _grid("Slices", plots.slices(story), "the strongest dots are the best that came furthest")


def _wide(title: str, plot: str, about: str) -> str:
    return f'<h2>{title}</h2><div class="about looks">{about}</div><figure class="wide">{plot}</figure>' if plot else ""


def _grid(title: str, found: list[str], about: str, kind: str = "plots") -> str:
    figures = "".join(f"<figure>{plot}</figure>" for plot in found if plot)
    return f'<h2>{title}</h2><div class="about">{about}</div><div class="{kind}">{figures}</div>' if figures else ""


def _looks() -> str:
    dot = '<svg viewBox="0 0 10 10"><circle cx="5" cy="5" r="4" class="{0}"/></svg> {0}'
    shown = "".join(f"<span>{dot.format(look)}</span>" for look in ("complete", "pruned", "paused", "running", "failed"))
    return f"{shown}<span>line: the best evaluation so far; pale: beyond the scale</span>"


def _rungs(story: Story) -> str:
    rungs = story.about["rungs"]
    if len(rungs) < 2:
        return ""
    rows = [_rung(story, rung) for rung in rungs]
    return "<h2>Rungs</h2>" + table(("step", "trials that reached it", "went on", "best", "median"), rows, frozenset(range(5)))


def _rung(story: Story, rung: int) -> tuple[str, ...]:
    there = [(losses[0], t) for t in story.ledger.trials if (losses := t.losses_at(rung)) is not None]
    further = f"{sum(t.step > rung or t.until > rung for _, t in there):,}" if rung != story.about["rungs"][-1] else ""
    ordered = sorted(loss for loss, _ in there)
    found = (ordered[0], ordered[len(ordered) // 2]) if ordered else ()
    shown = [f"{v:.6g}" for loss in found for v in story.ledger.objectives.shown((loss,)).values()]
    return (f"{rung:,}", f"{len(there):,}", further, *(shown or ("", "")))


def _schedule(story: Story) -> str:
    """What the best trial's weights were trained with, one after the other."""
    best = story.best_life()
    if not story.has_lineage or best is None:
        return ""
    line = list(best.line())[::-1]
    ends = [life.begin for life in line[1:]] + [max((step for step, _ in best.curve), default=best.begin)]
    names = [p.name for p in story.space.parameters]
    rows = [
        (f"{life.begin:,} to {end:,}", str(life.trial), *(_cell(life.values[n]) if n in life.values else "" for n in names))
        for life, end in zip(line, ends)
    ]
    return "<h3>The best one's schedule</h3>" + table(("steps", "trial", *names), rows, frozenset(range(len(names) + 2)))


def _importance(story: Story) -> str:
    try:
        found = importances(story.ledger, story.space)
    except UserError as error:
        return f'<h2>Importance</h2><div class="about">{escape(error.message)}</div>'
    about = (
        "share of the first objective's variance that a parameter explains by itself (PED-ANOVA), at the furthest common step"
    )
    return f'<h2>Importance</h2><div class="about">{about}</div>{bars(found, ".1%")}'


def _trials(story: Story) -> str:
    parameters, figures = story.space.parameters, story.figures
    head = ("trial", "state", "step", *figures, *(p.name for p in parameters), "weights of", "proposed by", "why")
    rows = [(str(t.number), t.state, str(t.step), *(_figure(t.figures.get(n)) for n in figures),
             *(_cell(t.values[p.name]) if p.name in t.values else "" for p in parameters),
             "" if t.weights is None else f"{t.weights[0]} at {t.weights[1]}", t.origin, t.why)
            for t in story.ledger.trials]  # fmt: skip
    numeric = [3 + len(figures) + n for n, p in enumerate(parameters) if p.is_ordered]
    marked = table(head, rows, frozenset((0, *range(2, 3 + len(figures)), *numeric)), "data-t")
    return f'<h2>Trials</h2><div class="about">a click on a head sorts</div><div class="wide trials">{marked}</div>'


def _text(story: Story, trial: Trial) -> str:
    why = f"\n{trial.why}" if trial.why else ""
    return f"trial {trial.number}, {trial.state}, step {trial.step}: {_figures(story, trial)}\n{told(trial.values)}{why}"


def _figures(story: Story, trial: Trial) -> str:
    return ", ".join(f"{name} {_figure(trial.figures.get(name)) or '-'}" for name in story.figures)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _cell(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
