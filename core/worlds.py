"""How many ranks a job may have, and on which hosts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import RecipeError, UserError
from .files import read_lines

if TYPE_CHECKING:
    from .recipe import Recipe

_HOST = re.compile(r"(\S+)\s+slots=(\d+)\s*(#.*)?")


@dataclass(frozen=True)
class Host:
    """A host of a job and how many ranks it may run."""

    name: str
    slots: int


def read_hostfile(path: Path) -> list[Host]:
    """The hosts of a file with a line ``NAME slots=N`` each. Raises UserError naming the line that is another."""
    hosts: dict[str, Host] = {}
    for line in read_lines(path):
        if line.lstrip().startswith("#"):
            continue
        found = _HOST.fullmatch(line.strip())
        if found is None or int(found[2]) == 0:
            raise UserError(f"{path}: {line!r} is no host", remedy="expected NAME slots=N, a line a host")
        if found[1] in hosts:
            raise UserError(f"{path}: {found[1]} is there twice")
        hosts[found[1]] = Host(found[1], int(found[2]))
    if not hosts:
        raise UserError(f"{path} names no host", remedy="expected NAME slots=N, a line a host")
    return list(hosts.values())


def fitting(slots: int) -> list[int]:
    """The numbers of ranks that share ``slots`` micro-batches evenly."""
    return [n for n in range(1, slots + 1) if slots % n == 0]


def check_slots(recipe: Recipe, world: int) -> None:
    """Raises RecipeError, listing those that do, where ``world`` does not divide the slots."""
    slots = recipe.batch.slots
    if slots % world:
        raise RecipeError(
            f"{world} ranks do not divide the {slots} micro-batches of a step "
            f"(batch.global {recipe.batch.global_} / batch.micro {recipe.batch.micro})",
            where=recipe.where("batch.global"), remedy=f"start one of {fitting(slots)} ranks, or change batch.global",
        )  # fmt: skip


def largest_world(hosts: Sequence[Host], slots: int) -> list[Host]:
    """The first of ``hosts``, with as many ranks in all as fit the slots best; empty without hosts."""
    room = sum(host.slots for host in hosts)
    left = max((n for n in fitting(slots) if n <= room), default=0)
    chosen = []
    for host in hosts:
        if take := min(host.slots, left):
            chosen.append(Host(host.name, take))
            left -= take
    return chosen
