"""``drivetrain data taxonomies``: what datasets' classes are called elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping

import typer


def taxonomies(
    name: str = typer.Argument(None, metavar="[DATASET:NAME]", help="One of them, in full."),
    as_json: bool = typer.Option(False, "--json", help="For programs."),
) -> None:
    """Taxonomies that dataset plugins ship: from their own class names to names that others use too."""
    from ..manager import get_manager
    from ..taxonomies import find_taxonomy, shipped_taxonomies

    manager = get_manager()
    found = shipped_taxonomies(manager) if name is None else {name: find_taxonomy(name, manager)}
    if as_json:
        print(json.dumps(found, indent=1))
    elif name is None:
        width = max((len(one) for one in found), default=0)
        print("\n".join(f"{one.ljust(width)}  {', '.join(_classes(mapping))}" for one, mapping in found.items()))
    else:
        print(_as_recipe(name, found[name]))


def _classes(mapping: Mapping[str, str]) -> list[str]:
    """The classes that are mapped to, in the order of the first that is."""
    return [target for target in dict.fromkeys(mapping.values()) if target not in ("ignore", "drop")]


def _as_recipe(name: str, mapping: Mapping[str, str]) -> str:
    """The part of a recipe that names it, and what it says."""
    source = name.split(":")[-2]
    lines = ["data:", f"  classes: [{', '.join(_classes(mapping))}]", "  taxonomy:", f"    {source}: {name}  # that is:"]
    return "\n".join([*lines, *(f"    # {theirs}: {ours}" for theirs, ours in mapping.items())])
