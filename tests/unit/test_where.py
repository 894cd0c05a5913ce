"""The `where` grammar: what it means, and what it says of what it cannot read."""

from __future__ import annotations

import contextlib
from fnmatch import fnmatchcase

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivetrain import RecipeError
from drivetrain.where import Known, Where

COUNTS = pa.map_(pa.string(), pa.map_(pa.string(), pa.int64()))
SCHEMA = pa.schema({"key": pa.string(), "scene": pa.string(), "timestamp": pa.int64(),
                    "tags": pa.map_(pa.string(), pa.string()), "labelled": pa.list_(pa.string()),
                    "class_counts": COUNTS})  # fmt: skip
ROWS = [
    ("city/0", "a", 10, {"weather": "rain"}, ["object_detection"], {"object_detection": {"pedestrian": 2}}),
    ("city/1", "a", 20, {"weather": "sun", "time of day": "night"}, ["object_detection"], {"object_detection": {}}),
    ("road/2", "b", None, {}, [], {}),
    ("road/3", None, 40, {"weather": "rain"}, ["depth", "object_detection"], {"object_detection": {"car": 1}, "depth": {}}),
]


def table(rows=ROWS) -> pa.Table:
    def pairs(value):
        return [(k, pairs(v) if isinstance(v, dict) else v) for k, v in value.items()]

    columns = [[pairs(v) if isinstance(v, dict) else v for v in column] for column in zip(*rows)]
    return pa.table(columns, schema=SCHEMA)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tags.weather == 'rain'", [0, 3]),
        ("tags.weather != 'rain'", [1, 2]),
        ("tags['time of day'] == \"night\"", [1]),
        ("tags.weather == null", [2]),
        ("tags.weather != null and not tags.weather == 'rain'", [1]),
        ("counts.object_detection.pedestrian >= 1", [0]),
        ("counts.object_detection.pedestrian == 0", [1, 3]),
        ("counts.object_detection['pedestrian'] < 1 or scene == 'b'", [1, 2, 3]),
        ("not labelled.object_detection", [2]),
        ("labelled.depth and labelled.object_detection", [3]),
        ("scene in ['a', 'b']", [0, 1, 2]),
        ("scene not in ['a']", [2, 3]),
        ("timestamp in [10, 40]", [0, 3]),
        ("timestamp >= 20", [1, 3]),
        ("timestamp > 1.5e1", [1, 3]),
        ("timestamp == -1", []),
        ("key ~ 'city/*'", [0, 1]),
        ("key matches '*/[02]'", [0, 2]),
        ("key matches '?ity/1' or (scene == 'a' and timestamp < 15)", [0, 1]),
        ("scene == 'a' or scene == 'b' and timestamp == 40", [0, 1]),
        ("(scene == 'a' or scene == 'b') and timestamp == 20", [1]),
        ("scene == 'and'", []),
    ],
)
def test_what_it_means(text, expected):
    where = Where.parse(text)
    assert np.flatnonzero(where.mask(table())).tolist() == expected
    parts = [where.among(part) for part in table().to_batches(max_chunksize=1)]
    assert np.flatnonzero(np.concatenate(parts)).tolist() == expected, "row by row it is the same"
    chunked = pa.concat_tables([table(ROWS[:1]), table(ROWS[1:])])
    assert np.flatnonzero(where.mask(chunked)).tolist() == expected


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("", 1, "expected a name, not the end"),
        ("tags.weather = 'rain'", 14, "cannot read '='"),
        ("tags.weather == rain", 17, "a text in quotes"),
        ("tags.weather == 'rain' & scene == 'a'", 24, "cannot read '&'"),
        ("tags.weather == 'rain' scene == 'a'", 24, "'and', 'or' or the end"),
        ("(scene == 'a'", 14, "expected ')'"),
        ("scene in 'a'", 10, "expected '['"),
        ("scene in ['a', 1]", 11, "a list of texts or of numbers"),
        ("tags == 'rain'", 1, "tags is no whole name"),
        ("tags.weather", 13, "expected one of =="),
        ("counts.object_detection > 1", 1, "no whole name"),
        ("key matches 3", 13, "a pattern in quotes"),
        ("timestamp < null", 11, "null is compared by == and !="),
        ("'a' == scene", 1, "expected a name"),
        ("__import__('os')", 11, "expected one of =="),
        ("scene.upper == 'A'", 1, "no whole name"),
    ],
)
def test_a_mistake_is_pointed_at(text, column, words):
    with pytest.raises(RecipeError) as found:
        Where.parse(text, "recipe.yaml:7: data.train.city.where")
    assert words in str(found.value) and f"(column {column})" in str(found.value)
    assert str(found.value).startswith("recipe.yaml:7: data.train.city.where: ")
    if text:
        assert f"  {text}\n  {' ' * (column - 1)}^" in str(found.value)


@pytest.mark.parametrize(
    ("text", "near", "there"),
    [
        ("scen == 'a'", "'scene'", "timestamp"),
        ("tags.wether == 'rain'", "'tags.weather'", "tags.time of day"),
        ("labelled.detection", "'labelled.object_detection'", "labelled.depth"),
        ("counts.object_detection.pedestrain > 0", "'counts.object_detection.pedestrian'", "counts.object_detection.car"),
        ("counts.objects.car > 0", "", "counts.object_detection"),
    ],
)
def test_an_unknown_name_is_told_with_those_that_there_are(text, near, there):
    with pytest.raises(RecipeError) as found:
        Where.parse(text, "here").mask(table())
    assert near in str(found.value) and there in str(found.value)


def test_a_declared_class_that_does_not_occur_is_no_mistake():
    where = Where.parse("counts.object_detection.tram > 0")
    assert not where.mask(table(), {"object_detection": ["tram"]}).any()


def test_a_tag_may_be_known_to_another_part_of_the_index():
    where = Where.parse("tags['time of day'] == 'night'")
    first, second = table(ROWS[2:]), table(ROWS[:2])
    known = Known()
    masks = []
    for part in (first, second):
        known.see(part)
        masks.append(where.among(part))
    where.check(known)
    assert np.concatenate(masks).tolist() == [False, False, False, True]
    assert Where.parse("tags.anything == 'x'").mask(SCHEMA.empty_table()).shape == (0,), "an empty index knows nothing"


@pytest.mark.parametrize(
    "text", ["scene > 1", "timestamp == 'a'", "timestamp in ['a']", "timestamp matches '*'", "scene in [1]"]
)
def test_text_is_not_held_against_numbers(text):
    with pytest.raises(RecipeError, match="cannot be held against"):
        Where.parse(text).mask(table())


TEXTS = st.text("ab.*?[]-!^$\\/", max_size=5)


@given(keys=st.lists(TEXTS, min_size=1, max_size=5), pattern=TEXTS.filter(lambda t: "'" not in t))
@settings(max_examples=150)
def test_patterns_are_those_of_the_shell(keys, pattern):
    index = pa.table({"key": keys})
    assert Where.parse(f"key ~ '{pattern}'").mask(index).tolist() == [fnmatchcase(key, pattern) for key in keys]


ATOMS = st.sampled_from(["scene == 'a'", "timestamp >= 20", "labelled.depth", "tags.weather == 'rain'"])


@st.composite
def trees(draw, depth=3):
    kind = draw(st.sampled_from(["atom", "not", "and", "or"])) if depth else "atom"
    if kind == "atom":
        text = draw(ATOMS)
        return text, Where.parse(text).mask(table())
    left, mask = draw(trees(depth - 1))
    if kind == "not":
        return f"not ({left})", ~mask
    right, other = draw(trees(depth - 1))
    return f"({left}) {kind} ({right})", mask & other if kind == "and" else mask | other


@given(tree=trees())
@settings(max_examples=60)
def test_and_or_not_are_those_of_sets(tree):
    text, expected = tree
    assert (Where.parse(text).mask(table()) == expected).all()


@given(text=st.text("tagsin.weh()[]'\"=<>!~ 01andornot,", max_size=30))
@settings(max_examples=200)
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(RecipeError):
        Where.parse(text)
