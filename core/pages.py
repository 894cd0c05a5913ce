"""HTML pages that need nothing else: the frame that all of them share, in light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from .files import write_text

_STYLE = """
:root { color-scheme: light dark; --ink: #1e2228; --soft: #5c6470; --rule: #d6d9de; --page: #fff; --raised: #f4f5f7;
  --blue: #2f6db3 }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e6ea; --soft: #98a1ad; --rule: #3a4048; --page: #16191d;
  --raised: #20242a; --blue: #6fa8e6 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); max-width: 1180px; margin: 2em auto;
  padding: 0 1em }
h1 { font-size: 1.5em; margin-bottom: 0 } h2 { font-size: 1.15em; margin: 1.8em 0 .4em }
h3 { font-size: 1em; margin: .8em 0 .2em }
.about { color: var(--soft) } figure { margin: 0 }
.key { display: flex; flex-wrap: wrap; gap: 8px 36px; margin: 1em 0 } .key div { color: var(--soft) }
.key b { display: block; font-size: 1.5em; color: var(--ink) }
table { border-collapse: collapse } td, th { padding: 2px 14px 2px 0; text-align: left; vertical-align: top }
th { border-bottom: 1px solid var(--rule); font-weight: 600 } .number { text-align: right; font-variant-numeric: tabular-nums }
.bar { background: var(--blue); height: .8rem; min-width: 1px; margin-top: .35rem } .bars td:nth-child(2) { width: 420px }
"""


def write_page(path: Path, title: str, body: str, style: str = "", script: str = "") -> None:
    """``body`` is HTML; ``style`` is added to what all pages share."""
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}{style}</style></head>\n<body>{body}"
        f"{f'<script>{script}</script>' if script else ''}</body></html>\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, page)


def key_figures(values: Mapping[str, str]) -> str:
    """Name -> what is written large above it."""
    return (
        '<div class="key">' + "".join(f"<div><b>{escape(v)}</b>{escape(name)}</div>" for name, v in values.items()) + "</div>"
    )


def bars(values: Mapping[str, float], form: str = ",.4g") -> str:
    """A bar each, as long as its value."""
    longest = max(values.values(), default=0) or 1
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td><div class=bar style='width:{100 * value / longest:.2f}%'></div></td>"
        f"<td class=number>{value:{form}}</td></tr>"
        for name, value in values.items()
    )
    return f"<table class=bars>{rows}</table>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: frozenset[int] = frozenset(), named: str = "") -> str:
    """Of text; ``numbers``: the columns set to the right; ``named``: an attribute that has each row's number. Heads break after
    dots and underscores."""

    def line(tag: str, cells: Sequence[str], mark: str = "") -> str:
        kinds = (" class=number" if n in numbers else "" for n in range(len(cells)))
        return f"<tr{mark}>" + "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, cells)) + "</tr>"

    lines = (line("td", row, f' {named}="{n}"' if named else "") for n, row in enumerate(rows))
    heading = line("th", head).replace(".", ".<wbr>").replace("_", "_<wbr>")
    return f"<table><thead>{heading}</thead><tbody>{''.join(lines)}</tbody></table>"
