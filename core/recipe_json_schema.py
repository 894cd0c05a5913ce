"""The JSON Schema of recipes, for editors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from .recipe_schema import NAMED, SINGLE, Sections, core_keys

if TYPE_CHECKING:
    from .manager import Found, PluginManager


def json_schema(manager: PluginManager) -> dict[str, Any]:
    """JSON Schema (2020-12) of recipes with the plugins at hand. It asks for no key, since a recipe may extend another;
    null, which restores a default, is allowed everywhere."""
    defs: dict[str, Any] = {}
    schema = _collected(Sections, "core", defs)
    for section in (*SINGLE, *NAMED):
        kind = NAMED.get(section, section)
        found = manager.found(kind)
        for f in found:
            config = f.load_config()
            own = {} if config is None else _collected(config, _label(f), defs).get("properties", {})
            keys = _collected(core_keys(section), f"core.{section}", defs)["properties"]
            defs[_label(f)] = {"type": "object", "description": f.declaration.about,
                               "properties": keys | own, "additionalProperties": False}  # fmt: skip
        defs[kind] = _by_plugin(found)
        schema["properties"][section] = _named(kind, found) if section in NAMED else _single(kind, found)
    schema["properties"]["extends"] = {
        "type": "array", "items": {"type": "string"}, "description": "files, or names of shipped recipes, to start from"
    }  # fmt: skip
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "drivetrain recipe"}
    return _relaxed({**schema, **head, "$defs": defs})


def _label(found: Found) -> str:
    return f"{found.declaration.kind}.{found.full_name}"


def _collected(model: type[BaseModel], label: str, defs: dict[str, Any]) -> dict[str, Any]:
    """The schema of ``model``, its inner models put into ``defs``."""
    schema = model.model_json_schema(by_alias=True, ref_template=f"#/$defs/{label}.{{model}}")
    defs |= {f"{label}.{name}": inner for name, inner in schema.pop("$defs", {}).items()}
    return schema


def _names(found: Found, every: list[Found]) -> list[str]:
    """How ``found`` may be called: in full, and bare where no other has the name."""
    alone = [f.declaration.name for f in every].count(found.declaration.name) == 1
    return [found.declaration.name, found.full_name] if alone else [found.full_name]


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{name}"}


def _by_plugin(every: list[Found]) -> dict[str, Any]:
    """A mapping whose key ``plugin`` decides what else it holds."""
    return {
        "type": "object",
        "properties": {"plugin": {"enum": [name for f in every for name in _names(f, every)]}},
        "allOf": [
            {"if": {"required": ["plugin"], "properties": {"plugin": {"enum": _names(f, every)}}}, "then": _ref(_label(f))}
            for f in every
        ],
    }


def _unless_said(kind: str, implied: Found) -> dict[str, Any]:
    return {"if": {"required": ["plugin"]}, "then": _ref(kind), "else": _ref(_label(implied))}


def _single(kind: str, every: list[Found]) -> dict[str, Any]:
    default = next((f for f in every if f.declaration.default), None)
    return _ref(kind) if default is None else _unless_said(kind, default)


def _named(kind: str, every: list[Found]) -> dict[str, Any]:
    names = {name: _unless_said(kind, f) for f in every for name in _names(f, every)}
    return {"type": "object", "properties": names, "additionalProperties": _ref(kind)}


def _relaxed(schema: Any, is_properties: bool = False) -> Any:
    """No property is asked for (the ``required`` of a condition stays), and each may be null."""
    if isinstance(schema, list):
        return [_relaxed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if is_properties:
        return {name: {"anyOf": [_relaxed(item), {"type": "null"}]} for name, item in schema.items()}
    return {
        key: item if key == "if" else _relaxed(item, key == "properties") for key, item in schema.items() if key != "required"
    }
