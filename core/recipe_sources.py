"""Where a recipe's values come from: files, what they extend, the environment and the command line.

A recipe is read into a tree of `Node`, each of which knows its `Place`. Layers are merged in order: the files that are
extended, the file itself, the command line.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML, MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from .errors import RecipeError, near_matches

Key = tuple[str | int, ...]
COMMAND_LINE = "command line"


@dataclass(frozen=True)
class Place:
    """Where a value was written: a ``source`` and its ``line``, or the override that was ``written`` on the command line."""

    source: str
    line: int = 0
    written: str = ""

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source

    def of(self, key: Key) -> str:
        """``recipes/a.yaml:14: model.plugin`` or ``command line: train.step=5``."""
        return ": ".join([str(self), self.written or dotted(key)]).removesuffix(": ")


@dataclass(frozen=True)
class Node:
    """A value of a recipe and its place: ``value`` is a mapping or a list of nodes, or a scalar."""

    value: Any
    place: Place

    @staticmethod
    def of(value: Any, place: Place) -> Node:
        """The tree of a plain ``value``, all of it at one place."""
        if isinstance(value, Mapping):
            return Node({str(k): Node.of(v, place) for k, v in value.items()}, place)
        if isinstance(value, Sequence) and not isinstance(value, str):
            return Node([Node.of(v, place) for v in value], place)
        return Node(value, place)

    @property
    def plain(self) -> Any:
        """Without places."""
        if isinstance(self.value, dict):
            return {k: v.plain for k, v in self.value.items()}
        return [v.plain for v in self.value] if isinstance(self.value, list) else self.value

    def along(self, key: Key) -> list[Node]:
        """The nodes on the way to ``key``, from this one as far as they exist: the last is it, or its nearest parent."""
        nodes = [self]
        for part in key:
            try:
                nodes.append(nodes[-1].value[part])
            except (KeyError, IndexError, TypeError):
                break
        return nodes

    def where(self, key: Key) -> str:
        return self.along(key)[-1].place.of(key)


@dataclass
class Written:
    """A recipe before its values are checked: the merged ``root``, its file's ``text``, those of the files that it extends
    after it as comments, what merging has to tell."""

    root: Node
    text: str
    source: str
    notes: list[str] = field(default_factory=list)


def read_recipe(recipe: str | os.PathLike, overrides: Iterable[str], implied: Callable[[Key], str | None]) -> Written:
    """The file ``recipe`` (or a shipped one's name) merged with what it extends and with ``key.sub=value`` overrides.

    ``A,B`` is B over A, as a file that extends both would be; B may be a shipped part, such as ``small``.
    ``implied(key)`` is the plugin of a mapping that names none. Raises RecipeError with the place.
    """
    names = str(recipe).split(",")
    if len(names) > 1 and all(names) and not Path(recipe).is_file():
        text, source = f"extends: {flow(names)}\n", str(recipe)
        root = parse(text, lambda line: Place(source))
        below = _extended(root, Path(), _DEEPEST + 1)
    else:
        path = find_recipe(str(recipe))
        root, text, source = _read(path), _text(path), shown(path)
        below = _extended(root, path.parent, _DEEPEST)
    written = Written(Node({}, root.place), text + "".join(_as_comments(layer.path) for layer in below), source)
    for node in (*(layer.root for layer in below), root):
        written.root = merge(written.root, node, (), implied, written.notes)
    override(written, overrides, implied)
    return written


def override(written: Written, overrides: Iterable[str], implied: Callable[[Key], str | None]) -> None:
    """Lay ``key.sub=value`` over it. Raises RecipeError for another form."""
    for layer in _overrides(overrides):
        written.root = merge(written.root, layer, (), implied, written.notes)


_DEEPEST = 2
"""A recipe may extend recipes that extend parts: more would be a hunt through files."""


def find_recipe(name: str, beside: Path | None = None, also_parts: bool = False) -> Path:
    """A path (it has a slash or ends in .yaml), looked for ``beside`` a folder, or the name of a shipped recipe or part.

    Raises RecipeError with near matches.
    """
    shipped = (shipped_parts() if also_parts else {}) | shipped_recipes()
    is_path = name.endswith((".yaml", ".yml")) or "/" in name or os.sep in name
    path = (beside or Path()) / name if is_path else shipped.get(name, Path(name))
    if path.is_file():
        return path
    siblings = [shown(p) for p in sorted(path.parent.glob("*.y*ml"))] if is_path else []
    raise RecipeError(f"no recipe {name!r}", near=near_matches(shown(path) if is_path else name, [*siblings, *shipped]),
                      remedy="what ships: drivetrain recipe list")  # fmt: skip


def shipped_recipes() -> dict[str, Path]:
    """Name -> file of drivetrain's own recipes."""
    return _shipped(".")


def shipped_parts() -> dict[str, Path]:
    """Name -> file of the parts that these are made of: recipes may extend them."""
    return _shipped("parts")


def shipped_patterns() -> dict[str, Path]:
    """Task -> what ``recipe new`` begins with."""
    return _shipped("patterns")


def _shipped(folder: str) -> dict[str, Path]:
    found = Path(str(files("drivetrain.recipes"))) / folder
    return {path.stem: path for path in sorted(found.glob("*.yaml"))}


def shown(path: Path) -> str:
    """As a user would write it: relative to the working directory if it lies below."""
    absolute, here = Path(os.path.abspath(path)), Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)


def dotted(key: Iterable[str | int]) -> str:
    return ".".join(str(part) for part in key)


# ---------------------------------------------------------------- reading


def parse(text: str, place: Callable[[int], Place], key: Key = ()) -> Node:
    """YAML 1.2 ``text`` with ``${NAME:-default}`` expanded; ``place(line)`` counts from 1.

    Raises RecipeError for broken YAML, repeated keys, tags and unset variables.
    """
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise RecipeError(f"not YAML: {said}", where=place(mark.line + 1 if mark else 1).of(key)) from error
    except YAMLError as error:
        raise RecipeError(f"not YAML: {error}", where=place(1).of(key)) from error
    return Node(None, place(1)) if root is None else _node(root, root.start_mark.line, place, key)


def parse_value(text: str) -> Any:
    """A value given on the command line. Raises RecipeError where it is not YAML."""
    return parse(text, lambda line: Place(COMMAND_LINE, written=text)).plain


def _node(node: Any, line: int, place: Callable[[int], Place], key: Key) -> Node:
    here = place(line + 1)
    if not node.tag.startswith("tag:yaml.org,2002:"):
        raise RecipeError(f"recipes have no YAML tags such as {node.tag!r}", where=here.of(key))
    if isinstance(node, MappingNode):
        return Node(dict(_entries(node, place, key)), here)
    if isinstance(node, SequenceNode):
        items = [_node(item, item.start_mark.line, place, (*key, i)) for i, item in enumerate(node.value)]
        return Node(items, here)
    text = _expand(node.value, here, key)
    return Node(plain_scalar(text) if node.style is None else text, here)


def _entries(node: MappingNode, place: Callable[[int], Place], key: Key) -> Iterator[tuple[str, Node]]:
    seen: dict[str, int] = {}
    for name_node, value in node.value:
        line = name_node.start_mark.line
        if not isinstance(name_node, ScalarNode):
            raise RecipeError("a key is a name", where=place(line + 1).of(key))
        name = name_node.value
        if name in seen:
            raise RecipeError(f"written twice, first in line {seen[name]}", where=place(line + 1).of((*key, name)))
        seen[name] = line + 1
        yield name, _node(value, line, place, (*key, name))


def _float(text: str) -> float | int:
    value = float(text)
    counts = "." not in text and value.is_integer() and abs(value) < 2**53  # so that train.steps=1e4 is a count
    return int(value) if counts else value


# YAML 1.2, core schema (10.3.2)
_SCALARS: tuple[tuple[str, Callable[[str], Any]], ...] = (
    (r"~|null|Null|NULL|", lambda text: None),
    (r"true|True|TRUE|false|False|FALSE", lambda text: text.lower() == "true"),
    (r"[-+]?[0-9]+", int),
    (r"0o[0-7]+", lambda text: int(text[2:], 8)),
    (r"0x[0-9a-fA-F]+", lambda text: int(text, 16)),
    (r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", _float),
    (r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", lambda text: float(text.replace(".", ""))),
)


def plain_scalar(text: str) -> Any:
    """What an unquoted scalar is: ``1e-4`` a number, ``no`` a string."""
    for pattern, convert in _SCALARS:
        if re.fullmatch(pattern, text):
            return convert(text)
    return text


def _expand(text: str, place: Place, key: Key) -> str:
    def value(match: re.Match[str]) -> str:
        name, default = match.group(1), match.group(2)
        found = os.environ.get(name)
        if found or (found is not None and default is None):
            return found
        if default is None:
            raise RecipeError(f"the environment has no {name}", where=place.of(key),
                              remedy=f"set it, or write ${{{name}:-DEFAULT}}")  # fmt: skip
        return default

    return re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", value, text)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot be read: {error}", where=shown(path)) from error


def _read(path: Path) -> Node:
    source = shown(path)
    root = parse(_text(path), lambda line: Place(source, line))
    if not isinstance(root.value, dict):
        raise RecipeError("a recipe is a mapping of sections", where=source)
    return root


class _Layer(NamedTuple):
    """A file that is extended."""

    root: Node
    path: Path


def _as_comments(path: Path) -> str:
    """A file, to stand after one that extends it."""
    lines = [f"---- {shown(path)}, which is extended", *_text(path).splitlines()]
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)


def _extended(root: Node, folder: Path, depth: int) -> list[_Layer]:
    """The layers that ``extends`` names, beside ``folder`` and at most ``depth`` deep; the key is taken off ``root``."""
    names = root.value.pop("extends", None)
    if names is None:
        return []
    if not isinstance(names.value, list) or not all(isinstance(n.value, str) for n in names.value):
        raise RecipeError("expected a list of files or of shipped recipes", where=names.place.of(("extends",)))
    layers: list[_Layer] = []
    for name in names.value:
        where = name.place.of(("extends",))
        if depth == 0:
            raise RecipeError(f"{name.value} would be the third file deep", where=where,
                              remedy="name it in the list of a recipe above, before what extends it")  # fmt: skip
        try:
            path = find_recipe(name.value, folder, also_parts=True)
            layer = _Layer(_read(path), path)
        except RecipeError as error:
            raise error if error.where else RecipeError(
                error.message, where=where, near=error.near, remedy=error.remedy) from error  # fmt: skip
        layers += [*_extended(layer.root, path.parent, depth - 1), layer]
    return layers


def _overrides(overrides: Iterable[str]) -> list[Node]:
    """All overrides as one layer, so that their order does not decide what a changed plugin leaves out."""
    root = Node({}, Place(COMMAND_LINE))
    for text in overrides:
        name, equals, value = text.partition("=")
        place = Place(COMMAND_LINE, written=text)
        key = tuple(name.split("."))
        if not equals or not all(key):
            raise RecipeError("expected key.sub=value", where=place.of(()))
        node = parse(value, lambda line, place=place: place, key)  # type: ignore[misc]
        for part in reversed(key):
            node = Node({part: node}, place)
        root = merge(root, node, (), lambda key: None, [], changes_plugins=False)
    return [root]


# ---------------------------------------------------------------- merging


def merge(old: Node, new: Node, key: Key, implied: Callable[[Key], str | None], notes: list[str],
          changes_plugins: bool = True) -> Node:  # fmt: skip
    """``new`` over ``old``: mappings merged, all else replaced. A mapping whose plugin changes is replaced whole, which
    ``notes`` tells; settings that were written for no plugin yet are kept."""
    if not isinstance(old.value, dict) or not isinstance(new.value, dict):
        return new
    if changes_plugins and "plugin" in new.value:
        before, after = (node.value["plugin"].value if "plugin" in node.value else None for node in (old, new))
        before, after = before or implied(key), after or implied(key)
        if before is not None and not _same_plugin(before, after):
            _note(old, new, key, f"{before!r} becomes {after!r}", notes)
            return new
    merged = dict(old.value)
    for name, node in new.value.items():
        is_new = name not in merged
        merged[name] = node if is_new else merge(merged[name], node, (*key, name), implied, notes, changes_plugins)
    return Node(merged, old.place if old.value else new.place)


def _note(old: Node, new: Node, key: Key, change: str, notes: list[str]) -> None:
    lost = [name for name in old.value if name != "plugin" and name not in new.value]
    if lost:
        place = new.value["plugin"].place.of((*key, "plugin"))
        notes.append(f"{place}: {change}; what {old.place} set for it is left out: {', '.join(lost)}")


def _same_plugin(a: Any, b: Any) -> bool:
    """Whether two names may mean one plugin: a bare name goes with any distribution's."""
    if not isinstance(a, str) or not isinstance(b, str):
        return a == b
    (dist_a, _, name_a), (dist_b, _, name_b) = a.rpartition(":"), b.rpartition(":")
    return name_a == name_b and (dist_a == dist_b or not dist_a or not dist_b)


# ---------------------------------------------------------------- writing


def write_yaml(value: Mapping[str, Any], comment: Callable[[Key], str] = lambda key: "") -> str:
    """Block YAML of a mapping, lists in flow style, that `parse` reads back equal; ``comment(key)`` ends a leaf's line."""
    return "".join(_lines(value, (), comment))


def _lines(value: Mapping[str, Any], key: Key, comment: Callable[[Key], str]) -> Iterator[str]:
    for name, item in value.items():
        head = "  " * len(key) + f"{flow(str(name))}:"
        if isinstance(item, Mapping) and item:
            yield head + "\n"
            yield from _lines(item, (*key, name), comment)
        else:
            yield f"{head} {flow(item)}{comment((*key, name))}\n"


def flow(value: Any) -> str:
    """A value in one line of YAML."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(str(k))}: {flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    if isinstance(value, float) and value - value != 0:
        return ".nan" if value != value else ".inf" if value > 0 else "-.inf"
    return _string(value) if isinstance(value, str) else json.dumps(value)


def _string(text: str) -> str:
    """Bare where any reader of YAML takes it for a string, else quoted."""
    if (
        re.fullmatch(r"(\.{0,2}/)?[A-Za-z_]([\w ./:+-]*[\w./+-])?", text, re.ASCII)
        and ": " not in text
        and plain_scalar(text) == text
    ):
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in quoted)
