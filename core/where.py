"""``where``: which frames of an index are meant, in a line of text.

::

    tags.weather == 'rain' and counts.object_detection.pedestrian >= 1
    scene in ['a', 'b'] or not labelled.semantic_segmentation
    key ~ 'city/*' and tags['time of day'] != null

A test is a name, an operator and a value: ``== != < <= > >=``, ``in`` and ``not in`` with a list, ``matches`` (or ``~``)
with a pattern of ``*``, ``?`` and ``[...]``. Tests are joined by ``and``, ``or``, ``not`` and parentheses. Names are the
index's plain columns (key, shard, scene, timestamp...), ``tags.NAME``, ``labelled.TASK`` (true or false on its own) and
``counts.TASK.CLASS``, 0 where a labelled frame has none of the class; what is no plain word stands in brackets. What a
frame does not have, such as the counts of a task that it is not labelled for, equals ``null`` alone: every other test of it
is false, ``!=`` and ``not in`` are true.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import RecipeError, near_matches

if TYPE_CHECKING:
    import numpy as np

    Rows = Any  # pyarrow.Table or pyarrow.RecordBatch

_TOKEN = re.compile(
    r"(?P<number>-?\d+(\.\d*)?([eE][+-]?\d+)?)|(?P<text>'[^']*'|\"[^\"]*\")|(?P<word>[A-Za-z_]\w*)|(?P<sign>[=!<>]=|[<>~()\[\],.])"
)
_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
_CONSTANTS = {"true": True, "false": False, "null": None}
COLUMN_OF = {"tags": "tags", "labelled": "labelled", "counts": "class_counts"}
_FORMS = "names: plain columns, tags.NAME, labelled.TASK, counts.TASK.CLASS"


@dataclass(frozen=True)
class Name:
    """A dotted name and where it stands in the text."""

    path: tuple[str, ...]
    at: int

    def __str__(self) -> str:
        return ".".join(self.path)


@dataclass(frozen=True)
class Test:
    """``sign`` is a comparison, ``in``, ``matches``, or ``is`` for a name that is true or false on its own; ``at`` is where it
    stands."""

    name: Name
    sign: str
    value: Any
    at: int


@dataclass(frozen=True)
class Not:
    part: Tree


@dataclass(frozen=True)
class Joined:
    """By ``and`` or by ``or``."""

    word: str
    parts: tuple[Tree, ...]


Tree = Test | Not | Joined


@dataclass(frozen=True)
class Where:
    """A parsed expression. ``names``: what it reads; ``place``: where it was written, for messages."""

    text: str
    tree: Tree
    names: tuple[Name, ...]
    place: str | None

    @staticmethod
    def parse(text: str, where: str | None = None) -> Where:
        """Raises RecipeError that points at the first thing that cannot be read."""
        parser = _Parser(text, where)
        tree = parser.whole()
        return Where(text, tree, tuple(parser.names), where)

    def mask(self, rows: Rows, classes: Mapping[str, Iterable[str]] | None = None) -> np.ndarray:
        """bool [rows]: which of them are meant. ``classes``: task -> its declared ones, which need not occur.

        Raises RecipeError for a name that the index does not have, with those that it has.
        """
        known = Known(classes)
        known.see(rows)
        self.columns(rows.schema.names)
        self.check(known)
        return self.among(rows)

    def among(self, rows: Rows) -> np.ndarray:
        """bool [rows], in a part of an index: that a name is unknown can only be told of the whole (`Known`, `check`).

        Raises RecipeError where text is held against numbers."""
        from .where_rows import evaluate

        return evaluate(self.tree, rows, self._mismatch)

    def columns(self, there: Sequence[str]) -> list[str]:
        """The columns to be read, out of those that are ``there``. Raises RecipeError for one that is not."""
        plain = [name for name in there if name not in COLUMN_OF.values()]
        for name in self.names:
            if COLUMN_OF.get(name.path[0], name.path[0]) not in there:
                raise self._unknown(name, [*plain, *COLUMN_OF])
        return list(dict.fromkeys(COLUMN_OF.get(name.path[0], name.path[0]) for name in self.names))

    def check(self, known: Known) -> None:
        """Raises RecipeError for a tag, task or class that the whole index does not know."""
        for name in self.names if known.rows else ():
            for depth in range(1, len(name.path)):
                inside = known.inside(name.path[:depth])
                if name.path[depth] not in inside:
                    raise self._unknown(name, [".".join((*name.path[:depth], one)) for one in sorted(inside)])

    def _mismatch(self, test: Test) -> RecipeError:
        value = test.value[0] if isinstance(test.value, list) else test.value
        kind = "no text" if isinstance(value, str) else "no number"
        return _error(self.text, test.at, f"{test.name} is {kind}: it cannot be held against {value!r}", self.place)

    def _unknown(self, name: Name, there: Sequence[str]) -> RecipeError:
        close = near_matches(str(name), there)
        return _error(
            self.text, name.at, f"the index has no {name}", self.place, close, f"it has: {', '.join(there) or 'none'}"
        )


class Known:
    """The names of tags, tasks and classes that an index has, gathered part by part."""

    def __init__(self, classes: Mapping[str, Iterable[str]] | None = None):
        self.rows = 0
        self._inside: dict[tuple[str, ...], set[str]] = {("tags",): set(), ("labelled",): set(), ("counts",): set()}
        for task, names in (classes or {}).items():
            self._note(task, names)

    def see(self, rows: Rows) -> None:
        from .where_rows import names_in

        self.rows += len(rows)
        tags, tasks, classes = names_in(rows)
        self._inside["tags",] |= tags
        for task in tasks:
            self._note(task, classes.get(task, ()))

    def inside(self, path: tuple[str, ...]) -> set[str]:
        return self._inside.get(path, set())

    def _note(self, task: str, classes: Iterable[str]) -> None:
        self._inside["labelled",].add(task)
        self._inside["counts",].add(task)
        self._inside.setdefault(("counts", task), set()).update(classes)


# ---------------------------------------------------------------- reading the text


@dataclass(frozen=True)
class _Token:
    kind: str  # number, text, word, sign, end
    text: str
    at: int


class _Parser:
    """Recursive descent; every rule returns what makes a bool array of rows."""

    def __init__(self, text: str, place: str | None):
        self.text, self.place = text, place
        self.names: list[Name] = []
        self._tokens = list(self._split())
        self._next = 0

    def whole(self) -> Tree:
        tree = self._either()
        if self._peek.kind != "end":
            raise self._expected("'and', 'or' or the end")
        return tree

    def _either(self) -> Tree:
        return self._joined("or", self._both)

    def _both(self) -> Tree:
        return self._joined("and", self._single)

    def _joined(self, word: str, part: Callable[[], Tree]) -> Tree:
        parts = [part()]
        while self._took(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else Joined(word, tuple(parts))

    def _single(self) -> Tree:
        if self._took("not"):
            return Not(self._single())
        if self._took("("):
            inner = self._either()
            self._must(")")
            return inner
        return self._test(self._name())

    def _test(self, name: Name) -> Tree:
        at = self._peek.at
        if self._took("not"):
            self._must("in")
            return Not(Test(name, "in", self._list(), at))
        for sign in _COMPARISONS:
            if self._took(sign):
                return self._comparison(name, sign, at)
        if self._took("in"):
            return Test(name, "in", self._list(), at)
        if self._took("matches") or self._took("~"):
            if self._peek.kind != "text":
                raise self._expected("a pattern in quotes")
            return Test(name, "matches", self._value(), at)
        if name.path[0] != "labelled":
            raise self._expected("one of == != < <= > >= in not in matches")
        return Test(name, "is", True, at)

    def _comparison(self, name: Name, sign: str, at: int) -> Tree:
        value = self._value()
        if value is None and sign not in ("==", "!="):
            raise _error(self.text, at, f"null is compared by == and !=, not by {sign}", self.place)
        return Test(name, sign, value, at)

    def _name(self) -> Name:
        first = self._take()
        if first.kind != "word" or first.text in ("and", "or", "in", "matches", *_CONSTANTS):
            raise self._expected("a name", first)
        path = [first.text]
        while self._peek.text in (".", "["):
            path.append(self._part())
        wanted = {"tags": 2, "labelled": 2, "counts": 3}.get(path[0], 1)
        if len(path) != wanted:
            raise _error(self.text, first.at, f"{'.'.join(path)} is no whole name", self.place, remedy=_FORMS)
        self.names.append(Name(tuple(path), first.at))
        return self.names[-1]

    def _part(self) -> str:
        if self._take().text == "[":
            token = self._take()
            if token.kind != "text":
                raise self._expected("a name in quotes", token)
            self._must("]")
            return token.text[1:-1]
        token = self._take()
        if token.kind != "word":
            raise self._expected("a name after the dot", token)
        return token.text

    def _value(self) -> Any:
        token = self._take()
        if token.kind == "number":
            return int(token.text) if re.fullmatch(r"-?\d+", token.text) else float(token.text)
        if token.kind == "text":
            return token.text[1:-1]
        if token.text in _CONSTANTS:
            return _CONSTANTS[token.text]
        raise self._expected("a number, a text in quotes, true, false or null", token)

    def _list(self) -> list[Any]:
        self._must("[")
        at, values = self._peek, [self._value()]
        while self._took(","):
            values.append(self._value())
        self._must("]")
        if len({isinstance(v, str) for v in values}) > 1 or None in values:
            raise self._expected("a list of texts or of numbers", at)
        return values

    # ---- tokens

    def _split(self) -> Iterator[_Token]:
        at = 0
        while at < len(self.text):
            if self.text[at].isspace():
                at += 1
                continue
            found = _TOKEN.match(self.text, at)
            if not found:
                raise _error(self.text, at, f"cannot read {self.text[at]!r}", self.place)
            yield _Token(str(found.lastgroup), found.group(), at)
            at = found.end()
        yield _Token("end", "", len(self.text))

    @property
    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._peek
        self._next += token.kind != "end"
        return token

    def _took(self, text: str) -> bool:
        if self._peek.text != text or self._peek.kind == "text":
            return False
        self._next += 1
        return True

    def _must(self, text: str) -> None:
        if not self._took(text):
            raise self._expected(repr(text))

    def _expected(self, what: str, token: _Token | None = None) -> RecipeError:
        token = token or self._peek
        found = repr(token.text) if token.text else "the end"
        return _error(self.text, token.at, f"expected {what}, not {found}", self.place)


def _error(text: str, at: int, message: str, place: str | None, near: Iterable[str] = (), remedy: str = "") -> RecipeError:
    picture = f"{text}\n{' ' * at}^"
    return RecipeError(f"{message} (column {at + 1})", where=place, near=near, remedy=f"{picture}\n{remedy}".rstrip())
