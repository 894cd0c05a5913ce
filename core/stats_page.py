"""The statistics of a shard set as one HTML file that needs nothing else: figures as text, plots as SVG inside."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from .pages import key_figures, table, write_page
from .tasks import TASKS

_MOST_BARS = 40
_STYLE = """
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(520px, 1fr)); gap: 12px }
img { width: 100% } td, th { text-align: right } td:first-child, th:first-child { text-align: left }
summary { cursor: pointer; color: var(--soft) }
"""


def write_statistics(found: Mapping[str, Any], out: Path) -> None:
    """``found``: what `ShardSet.statistics` returns."""
    boxes = found.get("boxes") or {}
    sections = [
        _section(task.replace("_", " "), _task(task, found)) for task in found["class_counts"]
    ] + [
        _section("boxes", _boxes(boxes)) if boxes.get("sizes") else "",
        _section("scenes, tags and pictures", _scenes(found)),
    ]  # fmt: skip
    path = escape(found["path"])
    body = f'<h1>Shard set</h1><div class="about">{path}</div>\n{_key(found)}\n{"".join(sections)}'
    write_page(out, found["path"], body, _STYLE)


def _key(found: Mapping[str, Any]) -> str:
    boxes = found.get("boxes") or {}
    values = {"frames": found["frames"], "scenes": found["scenes"], "shards": found["shards"]}
    values |= {f"frames with {task.replace('_', ' ')}": n for task, n in found["labelled_frames"].items()}
    if boxes.get("sizes"):
        values["boxes"] = sum(sum(sizes.values()) for sizes in boxes["sizes"].values())
        values["boxes to be ignored"] = boxes["ignored"]
    if found.get("damaged_frames"):
        values["damaged frames"] = found["damaged_frames"]
    return key_figures({name: f"{n:,}" for name, n in values.items()})


def _section(title: str, parts: list[str]) -> str:
    return f'<h2>{escape(title)}</h2>\n<div class="plots">{"".join(parts)}</div>\n'


def _task(task: str, found: Mapping[str, Any]) -> list[str]:
    counts, frames = found["class_counts"][task], found["class_frames"][task]
    unit = TASKS[task].counted if task in TASKS else "labels"
    total = max(1, sum(counts.values()))
    rows = [(name, f"{n:,}", f"{100 * n / total:.2f} %", f"{frames[name]:,}") for name, n in counts.items()]
    return [
        _bars(f"{unit} by class", counts, unit),
        _bars("frames in which a class occurs", {name: frames[name] for name in counts}, "frames"),
        _table(("class", unit, "share", "frames"), rows),
    ]


def _boxes(boxes: Mapping[str, Any]) -> list[str]:
    small, large = (round(limit**0.5) for limit in boxes["size_limits_px2"])
    limits = f"area: small below {small}², large from {large}² px on"
    return [
        _stacked("boxes by size (COCO)", boxes["sizes"], limits),
        _heights("heights of boxes", boxes["heights"], boxes["height_bins_px"]),
        _histogram("boxes a frame", {int(n): frames for n, frames in boxes["a_frame"].items()}, "boxes"),
    ]


def _scenes(found: Mapping[str, Any]) -> list[str]:
    lengths: dict[int, int] = {}
    for frames in found["frames_by_scene"].values():
        lengths[frames] = lengths.get(frames, 0) + 1
    plots = [_histogram("frames a scene", lengths, "frames", "scenes"), _bars("scenes", found["frames_by_scene"], "frames")]
    plots += [_bars(tag, values, "frames") for tag, values in found["tags"].items()]
    plots += [_bars(f"pictures of {camera}", sizes, "frames") for camera, sizes in found.get("image_sizes", {}).items()]
    return plots


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    return f"<details><summary>as a table</summary>{table(head, rows)}</details>"


# ---------------------------------------------------------------- plots


def _plot(title: str, height: float, draw: Callable[[Any], None]) -> str:
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, height), layout="constrained")
    axes = figure.add_subplot()
    draw(axes)
    axes.set_title(title, fontsize=11, loc="left", parse_math=False)
    axes.tick_params(labelsize=8, colors="0.35")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("0.75")
    sink = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "drivetrain"}):  # equal counts give an equal page
        figure.savefig(sink, format="svg", metadata={"Date": None})
    data = base64.b64encode(sink.getvalue()).decode()
    return f'<figure><img alt="{escape(title)}" src="data:image/svg+xml;base64,{data}"></figure>\n'


def _lines(bars: int) -> float:
    return 1.1 + 0.19 * max(bars, 2)


def _label(axes: Any, places: range, names: list[str]) -> None:
    axes.set_yticks(places, [name if len(name) <= 28 else name[:25] + "..." for name in names], parse_math=False)
    axes.invert_yaxis()


def _bars(title: str, counts: Mapping[str, int], unit: str) -> str:
    shown = dict(list(counts.items())[:_MOST_BARS])
    if len(counts) > len(shown):
        title = f"{title}: the first {len(shown)} of {len(counts):,}"

    def draw(axes: Any) -> None:
        drawn = axes.barh(range(len(shown)), list(shown.values()), color="C0")
        axes.bar_label(drawn, [f" {n:,}" for n in shown.values()], fontsize=7, color="0.35")
        _label(axes, range(len(shown)), list(shown))
        axes.set_xlabel(unit, fontsize=8, color="0.35")
        axes.margins(x=0.14)

    return _plot(title, _lines(len(shown)), draw)


def _stacked(title: str, sizes: Mapping[str, Mapping[str, int]], unit: str) -> str:
    order = sorted(sizes, key=lambda name: -sum(sizes[name].values()))[:_MOST_BARS]

    def draw(axes: Any) -> None:
        left = [0] * len(order)
        for number, size in enumerate(("small", "medium", "large")):
            widths = [sizes[name][size] for name in order]
            axes.barh(range(len(order)), widths, left=left, color=("C3", "C1", "C2")[number], label=size)
            left = [a + b for a, b in zip(left, widths)]
        _label(axes, range(len(order)), order)
        axes.set_xlabel(unit, fontsize=8, color="0.35")
        axes.legend(fontsize=8, frameon=False)

    return _plot(title, _lines(len(order)), draw)


def _heights(title: str, heights: Mapping[str, list[int]], edges: list[int]) -> str:
    order = sorted(heights, key=lambda name: -sum(heights[name]))
    rest = [sum(column) for column in zip(*(heights[name] for name in order[8:]))]
    drawn = {name: heights[name] for name in order[:8]} | ({"others": rest} if rest else {})

    def draw(axes: Any) -> None:
        bottom = [0] * len(edges)
        for number, (name, counts) in enumerate(drawn.items()):
            axes.bar(range(len(edges)), counts, 0.92, bottom, color=f"C{number}", label=name, align="edge")
            bottom = [a + b for a, b in zip(bottom, counts)]
        used = [i for i, n in enumerate(bottom) if n] or [0]
        axes.set_xlim(used[0] - 0.3, used[-1] + 1.3)
        axes.set_xticks(range(used[0], min(used[-1] + 2, len(edges))), edges[used[0] : used[-1] + 2])
        axes.set_xlabel("px, bins of half an octave", fontsize=8, color="0.35")
        axes.set_ylabel("boxes", fontsize=8, color="0.35")
        for text in axes.legend(fontsize=8, frameon=False).get_texts():
            text.set_parse_math(False)

    return _plot(title, 3.2, draw)


def _histogram(title: str, counts: Mapping[int, int], unit: str, of: str = "frames") -> str:
    def draw(axes: Any) -> None:
        bins = range(max(counts, default=0) + 2)
        if len(bins) > 60:
            bins = range(0, bins[-1] + -(-bins[-1] // 60) + 1, -(-bins[-1] // 60))
        axes.hist(list(counts), [edge - 0.5 for edge in bins], weights=list(counts.values()), color="C0", rwidth=0.92)
        axes.set_xlabel(unit, fontsize=8, color="0.35")
        axes.set_ylabel(of, fontsize=8, color="0.35")
        for axis in (axes.xaxis, axes.yaxis):
            axis.get_major_locator().set_params(integer=True)

    return _plot(title, 3.2, draw)
