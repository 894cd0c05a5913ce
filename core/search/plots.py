"""The plots of a study, each as SVG text; empty where there is nothing to be seen."""

from __future__ import annotations

import math
from itertools import combinations

from .drawing import CHARACTER_PX, Chart, Choices, Scale, broken, scale_of, scale_over
from .space import Parameter
from .story import Life, Story
from .trials import COMPLETE, FAILURES, PRUNED, RUNNING, LossVector, Trial

SHADES = 8
"""Colours from the worst to the best."""
_LOOK = {COMPLETE: "complete", PRUNED: "pruned", RUNNING: "running", **dict.fromkeys(FAILURES, "failed")}
_MOST_LINES = 2000
_UNITS = ((1.0, "s", 300.0), (60.0, "min", 180.0), (3600.0, "h", 96.0), (86400.0, "days", float("inf")))


def look(trial: Trial) -> str:
    return _LOOK.get(trial.state, "paused")


class Ranks:
    """Trials from the best to the worst: those that came further first. ``shade``: 0 for the worst to `SHADES` - 1."""

    def __init__(self, story: Story):
        found = [t for t in story.ledger.trials if t.losses]
        self.order = sorted(found, key=lambda t: (-t.step, t.losses or ()))
        whole = math.log(
            max(2, len(self.order))
        )  # half of the colours for the square root of them all: the best ones stand out
        self._shades = {t.number: round((SHADES - 1) * (1 - math.log(1 + n) / whole)) for n, t in enumerate(self.order)}

    def shade(self, trial: Trial) -> str:
        return f"q{self._shades[trial.number]}"


def history(story: Story) -> str:
    """Each trial's last evaluation by the time that it was made, and the best so far."""
    name, is_min = _first(story)
    last = {seen.trial: seen for seen in story.seen}
    if not last:
        return ""
    chart = Chart(1100, 330, "history")
    end = max(story.ledger.spent, 1e-9)
    unit, unit_name = next((unit, name) for unit, name, most in _UNITS if end / unit <= most)
    x = Scale(0, end / unit, 70, 1080)
    y = _figure_scale(story, [seen.losses for seen in last.values()], 280, 22)
    chart.x_axis(x, 280, f"time of the study ({unit_name})")
    chart.y_axis(y, 70, _goal(name, is_min), 1080)
    for seen in last.values():
        trial = story.ledger.trials[seen.trial]
        chart.dot(
            x.at(seen.at / unit), y.at(_shown(story, seen.losses)[0]), seen.trial, look(trial) + _beyond(y, story, seen.losses)
        )
    for trial in story.ledger.trials:
        if trial.state in FAILURES:
            chart.cross(x.at(story.times.get(trial.number, (0, 0))[1] / unit), 274, trial.number, "failed")
    if len(story.about["objectives"]) == 1:
        _stairs(chart, x, y, [(at / unit, _shown(story, losses)[0]) for at, losses in story.best])
    return chart.svg()


def curves(story: Story) -> str:
    """Every trial's figure over its steps, and where trials are compared."""
    trials = [t for t in story.ledger.trials if t.curve]
    rungs = story.about["rungs"]
    if not any(len(t.curve) > 1 for t in trials) and len(rungs) < 2:
        return ""
    chart, (name, is_min), ranks = Chart(1100, 330, "curves"), _first(story), Ranks(story)
    steps = [step for t in trials for step, _ in t.curve] + rungs
    x = Scale(min(steps), max(steps), 70, 1080, log=max(steps) / min(steps) > 12)
    y = _figure_scale(story, [losses for t in trials for _, losses in t.curve], 280, 22)
    chart.y_axis(y, 70, _goal(name, is_min), 1080)
    chart.x_axis(x, 280, "step (dashed: rungs, where trials are compared)" if len(rungs) > 1 else "step")
    for rung in rungs if 1 < len(rungs) <= 40 else ():
        chart.line([(x.at(rung), 22), (x.at(rung), 280)], "rung")
    for trial in reversed(ranks.order[:_MOST_LINES]):
        points = [(x.at(step), y.at(_shown(story, losses)[0])) for step, losses in trial.curve]
        if len(points) > 1:
            chart.line(points, ranks.shade(trial), trial.number)
        chart.dot(*points[-1], trial.number, look(trial), 2.5)
    return chart.svg()


def parallel(story: Story) -> str:
    """A line a trial over all parameters to the objectives; the best are the strongest."""
    ranks, space = Ranks(story), story.space.parameters
    if not ranks.order:
        return ""
    names = [*(p.name for p in space), *story.about["objectives"]]
    gap = max(112.0, min(240.0, 1010 / max(1, len(names) - 1)))
    chart = Chart(gap * (len(names) - 1) + 110, 380, "parallel coordinates")
    places = [50 + gap * n for n in range(len(names))]
    scales: list[Scale | Choices] = [scale_of(p, 330, 70) for p in space]
    for n in range(len(story.about["objectives"])):
        values = [_shown(story, t.losses)[n] for t in ranks.order if t.losses]
        directions = list(story.about["objectives"].values())
        scales.append(scale_over(values, 330, 70, directions[n] == "min"))
    for trial in reversed(ranks.order[:_MOST_LINES]):
        told = {**trial.values, **story.ledger.objectives.shown(trial.losses or ())}
        points = [(x, s.at(told[n]) if n in told else 358) for x, s, n in zip(places, scales, names)]
        chart.line(points, ranks.shade(trial), trial.number)
    for x, scale, name in zip(places, scales, names):
        _vertical(chart, x, scale, name, gap)
    if any(p.when for p in space):
        chart.text(4, 362, "not set", anchor="start")
    return chart.svg()


def slices(story: Story) -> list[str]:
    """A plot a parameter: the first objective over its values."""
    ranks = Ranks(story)
    return [_slice(story, ranks, parameter) for parameter in story.space.parameters] if ranks.order else []


def fronts(story: Story) -> list[str]:
    """A plot for each two of the objectives, with the trials that no other one beats in all of them."""
    return [_front(story, *pair) for pair in combinations(range(len(story.about["objectives"])), 2)]


def lineage(story: Story) -> str:
    """Members of a population by rows: where one took over another's weights; the best one's line is strong."""
    if not story.has_lineage:
        return ""
    rows = {number: row for row, number in enumerate(dict.fromkeys(life.trial for life in story.lives))}
    chart = Chart(1100, 60 + 18 * len(rows), "lineage")
    bottom = 20 + 18 * len(rows)
    x = Scale(0, story.about["steps"], 70, 1080)
    at = {number: 20 + 18 * row for number, row in rows.items()}
    best = story.best_life()
    line = {id(life) for life in best.line()} if best is not None else set()
    shades = _shades_by_step(story)
    chart.x_axis(x, bottom, "step", 14)
    for life in sorted(story.lives, key=lambda life: id(life) in line):
        if life.parent is not None:
            start, end = x.at(life.begin), at[life.trial]
            strong = "strong" if id(life) in line else "taken"
            chart.line([(start - 9, at[life.parent.trial]), (start, end)], strong, life.trial)
    for life in story.lives:
        _draw_life(chart, life, x, at[life.trial], shades, _ends(story, life) if id(life) in line else None)
    for number, y in at.items():
        chart.text(60, y + 4, str(number), anchor="end")
    chart.text(4, 12, "trial", "label", "start")
    return chart.svg()


# ---------------------------------------------------------------- inside


def _first(story: Story) -> tuple[str, bool]:
    """The first objective's name, and whether less of it is better."""
    name, direction = next(iter(story.about["objectives"].items()))
    return name, direction == "min"


def _goal(name: str, is_min: bool) -> str:
    return f"{name} ({'less' if is_min else 'more'} is better)"


def _shown(story: Story, losses: LossVector) -> tuple[float, ...]:
    return tuple(story.ledger.objectives.shown(losses).values())


def _figure_scale(story: Story, losses: list[LossVector], start: float, end: float) -> Scale:
    return scale_over([_shown(story, one)[0] for one in losses], start, end, _first(story)[1])


def _beyond(scale: Scale, story: Story, losses: LossVector) -> str:
    return "" if scale.low <= _shown(story, losses)[0] <= scale.high else " beyond"


def _stairs(chart: Chart, x: Scale, y: Scale, points: list[tuple[float, float]]) -> None:
    placed: list[tuple[float, float]] = []
    for at, value in points:
        if placed:
            placed.append((x.at(at), placed[-1][1]))
        placed.append((x.at(at), y.at(value)))
    if placed:
        chart.line([*placed, (x.end, placed[-1][1])], "best")


def _vertical(chart: Chart, x: float, scale: Scale | Choices, name: str, gap: float) -> None:
    chart.line([(x, 70), (x, 330)], "axis")
    for y, text in scale.ticks():
        chart.text(x - 5, y + 4, text, "halo", "end", most=max(5, int(0.8 * gap / CHARACTER_PX)))
    lines = broken(name, int(gap / CHARACTER_PX))[-4:]
    for n, line in enumerate(lines):
        chart.text(x, 58 - 13 * (len(lines) - 1 - n), line, "label", most=int(gap / CHARACTER_PX))


def _slice(story: Story, ranks: Ranks, parameter: Parameter) -> str:
    chart = Chart(360, 240, parameter.name)
    name, is_min = _first(story)
    x = scale_of(parameter, 62, 350)
    y = _figure_scale(story, [t.losses for t in ranks.order if t.losses], 190, 22)
    chart.y_axis(y, 62, _goal(name, is_min), 350)
    chart.x_axis(x, 190, parameter.name)
    for trial in reversed(ranks.order):
        if parameter.name in trial.values:
            value = _shown(story, trial.losses or ())[0]
            chart.dot(x.at(trial.values[parameter.name]), y.at(value), trial.number, ranks.shade(trial), 3)
    return chart.svg()


def _front(story: Story, first: int, second: int) -> str:
    names, directions = list(story.about["objectives"]), list(story.about["objectives"].values())
    trials = [t for t in story.ledger.trials if t.losses and t.state == COMPLETE]
    if not trials:
        return ""
    points = {t.number: (_shown(story, t.losses or ())[first], _shown(story, t.losses or ())[second]) for t in trials}
    chart = Chart(540, 380, f"{names[first]} and {names[second]}")
    x = scale_over([p[0] for p in points.values()], 70, 525, directions[first] == "min")
    y = scale_over([p[1] for p in points.values()], 330, 22, directions[second] == "min")
    chart.y_axis(y, 70, _goal(names[second], directions[second] == "min"), 525)
    chart.x_axis(x, 330, _goal(names[first], directions[first] == "min"))
    front = {t.number for t in story.ledger.front}
    if len(names) == 2:
        chart.line([(x.at(a), y.at(b)) for a, b in sorted(points[n] for n in front)] or [(x.start, y.start)], "front")
    for trial in sorted(trials, key=lambda t: t.number in front):
        kept = "" if story.ledger.objectives.violation(trial.figures) == 0 else " hollow"
        of_front = trial.number in front
        a, b = points[trial.number]
        chart.dot(x.at(a), y.at(b), trial.number, ("best" if of_front else "complete") + kept, 5 if of_front else 3.5)
    return chart.svg()


def _shades_by_step(story: Story) -> dict[tuple[int, int, int], str]:
    """(trial, begin of its life, step) -> colour: how good it was among those at this step."""
    by_step: dict[int, list[tuple[float, tuple[int, int, int]]]] = {}
    for life in story.lives:
        for step, loss in life.curve:
            by_step.setdefault(step, []).append((loss, (life.trial, life.begin, step)))
    found: dict[tuple[int, int, int], str] = {}
    for members in by_step.values():
        last = max(1, len(members) - 1)
        found |= {key: f"q{round((SHADES - 1) * (1 - n / last))}" for n, (_, key) in enumerate(sorted(members))}
    return found


def _ends(story: Story, life: Life) -> int:
    """The step up to which the best one's line follows a life: to its end, or to where another took its weights."""
    best = story.best_life()
    line = list(best.line()) if best is not None else []
    later = next((one for one in line if one.parent is life), None)
    return later.begin if later is not None else max((step for step, _ in life.curve), default=life.begin)


def _draw_life(
    chart: Chart, life: Life, x: Scale, y: float, shades: dict[tuple[int, int, int], str], strong: int | None
) -> None:
    before = life.begin
    if strong is not None:
        chart.line([(x.at(life.begin), y), (x.at(strong), y)], "strong", life.trial)
    for step, _ in life.curve:
        chart.line([(x.at(before), y), (x.at(step) - 9, y)], f"member {shades[life.trial, life.begin, step]}", life.trial)
        before = step
