"""``drivetrain plugins``: what is installed, and what is wrong with it."""

from __future__ import annotations

import json
from typing import Any

import typer

from ..errors import PluginError, near_matches
from ..manager import KINDS, PluginManager, get_manager

app = typer.Typer(help="Plugins that are installed.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Plugins that are installed."""


@app.command("list")
def list_plugins(
    kind: str = typer.Argument(None, help="One of: " + ", ".join(KINDS)),
    as_json: bool = typer.Option(False, "--json", help="For programs."),
) -> None:
    """All plugins, those that failed to load with the reason."""
    if kind is not None and kind not in KINDS:
        raise PluginError(f"no kind of plugin {kind!r}", near=near_matches(kind, KINDS), remedy="kinds: " + ", ".join(KINDS))
    manager = get_manager()
    if as_json:
        print(json.dumps(_as_json(manager, kind), indent=1))
        return
    _print_table(manager, kind)
    for entry in manager.entries:
        if entry.status != "loaded":
            print(f"{entry.status}: {entry.full_name} {entry.version}" + (f": {entry.error}" if entry.error else ""))


def _print_table(manager: PluginManager, kind: str | None) -> None:
    found = manager.found(kind)
    if not found:
        print(f"no plugin of kind {kind}" if kind else "no plugins")
        return
    rows = [(f.declaration.kind, f.declaration.name, f"{f.distribution} {f.version}", f.declaration.about) for f in found]
    rows.sort(key=lambda r: KINDS.index(r[0]))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[3]]))


def _as_json(manager: PluginManager, kind: str | None) -> dict[str, Any]:
    plugins = [
        {"kind": f.declaration.kind, "name": f.declaration.name, "full_name": f.full_name, "version": f.version,
         "entry_point": f.entry_point, "about": f.declaration.about, "default": f.declaration.default}
        for f in manager.found(kind)
    ]  # fmt: skip
    entries = [
        {"name": e.full_name, "version": e.version, "target": e.target, "status": e.status, "error": e.error}
        for e in manager.entries
    ]
    return {"plugins": plugins, "entry_points": entries}
