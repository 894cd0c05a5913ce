"""Values held against pydantic models, what is wrong with them in a recipe's words, and what differs between two."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from .errors import RecipeError, near_matches
from .recipe_sources import Key, dotted

AnyModel = TypeVar("AnyModel", bound=BaseModel)
_WORDS = {
    "a valid array": "a list", "an object": "a mapping", "a valid dictionary": "a mapping", "a valid integer": "an integer",
    "a valid number": "a number", "a valid boolean": "true or false", "a valid string": "a string",
    "expected greater": "expected a number greater", "expected less": "expected a number less",
}  # fmt: skip


def validate(model: type[AnyModel], data: Any) -> AnyModel:
    """``data`` as ``model``, by the strict rules of JSON: a string is no number, 0 no boolean. A null where none is
    admitted restores the default. Raises pydantic's ValidationError."""
    values = deepcopy(data)
    while True:
        try:
            return model.model_validate_json(json.dumps(values), strict=True)
        except ValidationError as error:
            if not _restore_defaults(values, error):
                raise


def _restore_defaults(values: Any, error: ValidationError) -> bool:
    """Take out the nulls that ``error`` complains of; whether there were any."""
    found = False
    for item in error.errors():
        key = _real_key(item["loc"], values)
        if item["type"] == "extra_forbidden" or item["input"] is not None or not key:
            continue
        parent = at(values, key[:-1])
        if isinstance(parent, dict) and key[-1] in parent and parent[key[-1]] is None:
            del parent[key[-1]]
            found = True
    return found


def keys_of(model: type[BaseModel]) -> dict[str, Any]:
    """Key as it is written -> pydantic's field."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def explain(error: ValidationError, model: type[BaseModel], data: Any, key: Key, where: Callable[[Key], str],
            also: Iterable[str] = ()) -> Iterator[RecipeError]:  # fmt: skip
    """What is wrong with ``data``, written at ``key``: one RecipeError a key, however many members of a union it fails.

    ``where(key)`` is its place; ``also`` names further keys that the mapping may hold.
    """
    expected: dict[Key, list[Mapping[str, Any]]] = {}
    for item in error.errors(include_url=False):
        inner = _real_key(item["loc"], data)
        if item["type"] == "extra_forbidden":
            known = [*_fields_at(model, item["loc"][:-1]), *(also if len(inner) == 1 else ())]
            yield unknown_key((*key, *inner), known, where)
        else:
            if item["type"] == "missing":  # or a null, which is written all the same
                inner = (*_real_key(item["loc"][:-1], data), item["loc"][-1])
            expected.setdefault(inner, []).append(item)
    for inner, items in expected.items():
        if any(other[: len(inner)] == inner and other != inner for other in expected):
            continue  # the union's member that was meant failed further inside
        yield RecipeError(_said(items, model), where=where((*key, *inner)), near=_near(items))


def unknown_key(key: Key, known: Iterable[str], where: Callable[[Key], str]) -> RecipeError:
    """A key that is not one of the ``known`` ones of its mapping."""
    known = list(known)
    place = f"keys of {dotted(key[:-1])}" if key[:-1] else "sections"
    remedy = f"{place}: {', '.join(known) or 'none'}"
    return RecipeError("no such key", where=where(key), near=near_matches(str(key[-1]), known), remedy=remedy)


def _said(items: list[Mapping[str, Any]], model: type[BaseModel]) -> str:
    """pydantic's messages on one value, in a recipe's words."""
    if items[0]["type"] == "missing":
        *parent, name = items[0]["loc"]
        about = getattr(_fields_at(model, parent).get(str(name)), "description", None)
        return f"is needed: {about}" if about else "is needed"
    texts = []
    for item in items:
        text: str = item["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
        if item["type"] == "too_short":
            text = f"expected at least {item['ctx']['min_length']} of them"
        for theirs, ours in _WORDS.items():
            text = text.replace(theirs, ours)
        texts.append(text)
    said = " or ".join(dict.fromkeys(texts)).replace(" or expected", " or")
    value = items[0]["input"]
    is_scalar = value is None or isinstance(value, (str, int, float))
    return f"{said}, not {json.dumps(value)}" if said.startswith("expected") and is_scalar else said


def _near(items: list[Mapping[str, Any]]) -> list[str]:
    """Of the values that a literal may have, those that look like the one that was written."""
    value = items[0]["input"]
    named = re.findall(r"'([^']*)'", " ".join(i["msg"] for i in items if i["type"] in ("literal_error", "enum")))
    return near_matches(value, named) if isinstance(value, str) else []


def _real_key(loc: Iterable[str | int], data: Any) -> Key:
    """pydantic's ``loc`` without the names that it gives to the members of a union."""
    key: list[str | int] = []
    for part in loc:
        inside = isinstance(data, dict) and part in data
        if inside or (isinstance(data, list) and isinstance(part, int) and part < len(data)):
            key.append(part)
            data = data[part]
    return tuple(key)


def _fields_at(model: type[BaseModel], loc: Iterable[str | int]) -> dict[str, Any]:
    """The keys that a mapping at ``loc`` of ``model`` may have, and pydantic's fields."""
    for part in loc:
        field = keys_of(model).get(str(part))
        if field is None:  # a name in a mapping, or of a union's member
            continue
        inner = _model_in(field.annotation)
        if inner is None:
            return {}
        model = inner
    return keys_of(model)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for m in map(_model_in, get_args(annotation)) if m), None)


# ---------------------------------------------------------------- comparing

_ORDERED: tuple[Key, ...] = (("transforms",), ("data", "train"), ("data", "val"))


def compare(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """What differs between two resolved recipes: (dotted key, value in a, value in b), None for a key that is not there.
    Lists are one value; the order of transforms and of sources counts."""
    flat_a, flat_b = dict(leaves(a)), dict(leaves(b))
    keys = [*flat_a, *(key for key in flat_b if key not in flat_a)]
    changes = [(dotted(k), flat_a.get(k), flat_b.get(k)) for k in keys if flat_a.get(k) != flat_b.get(k)]
    for key in _ORDERED:
        names_a, names_b = _names(flat_a, key), _names(flat_b, key)
        if names_a != names_b and set(names_a) == set(names_b):
            changes.append((dotted(key), names_a, names_b))
    return changes


def _names(flat: Iterable[Key], key: Key) -> list[str | int]:
    """The names in the mapping at ``key``, in order."""
    return list(dict.fromkeys(k[len(key)] for k in flat if k[: len(key)] == key))


def leaves(value: Any, key: Key = ()) -> list[tuple[Key, Any]]:
    """(key, value) of all that is no mapping."""
    if not isinstance(value, Mapping):
        return [(key, value)]
    return [leaf for name, item in value.items() for leaf in leaves(item, (*key, name))]


def at(value: Any, key: Key) -> Any:
    """The value at ``key``, which is there."""
    for part in key:
        value = value[part]
    return value
