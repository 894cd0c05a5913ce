"""Regular expressions that a recipe gives for the names of a model's parts."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .errors import RecipeError, near_matches


def matching(pattern: str, names: Iterable[str], what: str, where: str) -> list[str]:
    """The ``names`` in which ``pattern`` is found, in their order. Raises RecipeError, at ``where``, for none: ``what`` says
    whose names they are."""
    names = list(names)
    found = [name for name in names if re.search(pattern, name)]
    if not found:
        parts = dict.fromkeys(".".join(name.split(".")[:n]) for name in names for n in range(1, name.count(".") + 2))
        near = near_matches(re.sub(r"[\\^$*?()\[\]|]", "", pattern), parts)
        raise RecipeError(f"{pattern!r} is found in the name of no {what}", where=where, near=near,
                          remedy=f"names are such as {', '.join(names[:3])}")  # fmt: skip
    return found
