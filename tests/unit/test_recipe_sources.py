"""Where a recipe's values come from: YAML 1.2, the environment, other files, the command line."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from drivetrain.errors import RecipeError
from drivetrain.recipe_sources import Node, Place, dotted, merge, parse, parse_value, plain_scalar, read_recipe, write_yaml


def read(text: str):
    return parse(text, lambda line: Place("a.yaml", line))


def layered(tmp_path, text, overrides=(), **others):
    for name, other in others.items():
        (tmp_path / f"{name}.yaml").write_text(other)
    (tmp_path / "main.yaml").write_text(text)
    return read_recipe(tmp_path / "main.yaml", overrides, lambda key: "standard" if key == ("optimizer",) else str(key[-1]))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("2E-3", 2e-3), (".5", 0.5), ("1.", 1.0), ("-1e-4", -1e-4), ("1e4", 10000), ("1.0e4", 10000.0),
        ("08", 8), ("0o17", 15), ("0x1F", 31), ("+12", 12), ("-0", 0), (".inf", math.inf), ("-.INF", -math.inf),
        ("true", True), ("FALSE", False), ("~", None), ("null", None), ("", None),
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("off", "off"), ("y", "y"), ("1_000", "1_000"), ("12:30:45", "12:30:45"),
        ("2020-01-01", "2020-01-01"), ("1e", "1e"), ("e1", "e1"), ("0b11", "0b11"), ("nan", "nan"), ("tRUE", "tRUE"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text, value):
    got = read(f"a: {text}").plain["a"]
    assert got == value and type(got) is type(value)
    assert read(f"a: '{text}'").plain["a"] == text


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=12
)


@given(st.dictionaries(st.text(), trees, max_size=4))
def test_what_is_written_reads_back_equal_here_and_elsewhere(value):
    text = write_yaml(value)
    assert (read(text).plain or {}) == value
    assert (YAML(typ="safe", pure=True).load(text) or {}) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_pythons_floats_are_numbers(value):
    assert plain_scalar(repr(value)) == value


def test_every_value_knows_its_line():
    root = read("a:\n  b: 1\n  c:\n    - x\n    - {d: 2}\n  e:\nf: {g: 3}\n")
    for key, line in [
        (("a",), 1),
        (("a", "b"), 2),
        (("a", "c", 0), 4),
        (("a", "c", 1, "d"), 5),
        (("a", "e"), 6),
        (("f", "g"), 7),
    ]:
        assert root.where(key) == f"a.yaml:{line}: {dotted(key)}"
    assert root.where(("a", "nothing", "here")) == "a.yaml:1: a.nothing.here"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb: {c: 1, c: 2}\n", "a.yaml:2: b.c: written twice, first in line 2"),
        ("a: 1\nb: 2\na: 3\n", "a.yaml:3: a: written twice, first in line 1"),
        ("a: [1\nb: 2\n", "a.yaml:2: not YAML: while parsing a flow sequence"),
        ("a: 1\n\tb: 2\n", "a.yaml:2: not YAML"),
        ("a: !python/object:os.system x", "a.yaml:1: a: recipes have no YAML tags such as '!python/object:os.system'"),
        ("? [1, 2]\n: 3\n", "a.yaml:1: a key is a name"),
        ("a: 1\n---\nb: 2\n", "a.yaml:2: not YAML"),
        ("a: \x01", "a.yaml:1: not YAML: unacceptable character"),
        ("x:\n  a: ${DRIVETRAIN_UNSET_A}", "a.yaml:2: x.a: the environment has no DRIVETRAIN_UNSET_A"),
    ],
)
def test_broken_text_is_told_with_its_place(text, told):
    with pytest.raises(RecipeError) as caught:
        read(text)
    assert str(caught.value).startswith(told)


def test_the_environment_is_expanded_before_a_plain_scalar_is_read(monkeypatch):
    monkeypatch.setenv("DT_STEPS", "300")
    monkeypatch.setenv("DT_EMPTY", "")
    monkeypatch.delenv("DT_UNSET", raising=False)
    text = """
a: ${DT_STEPS}
b: "${DT_STEPS}"
c: ${DT_UNSET:-./shards}/demo-${DT_STEPS:-1}
d: "${DT_EMPTY}${DT_EMPTY:-full}"
e: $DT_STEPS costs 5$ or ${}
f: ["${DT_UNSET:-1e-3}"]
"""
    assert read(text).plain == {
        "a": 300, "b": "300", "c": "./shards/demo-300", "d": "full", "e": "$DT_STEPS costs 5$ or ${}", "f": ["1e-3"]
    }  # fmt: skip


def test_layers_are_merged_in_order_and_lists_replaced(tmp_path):
    written = layered(
        tmp_path,
        "extends: [one.yaml, two.yaml]\na: {x: 3}\n",
        ["a.y=9", "l=[7]", "new.deep.key=no"],
        one="a: {x: 1, y: 1, z: 1}\nl: [1, 2]\n",
        two="a: {y: 2}\nb: 2\n",
    )
    assert written.root.plain == {"a": {"x": 3, "y": 9, "z": 1}, "l": [7], "b": 2, "new": {"deep": {"key": "no"}}}
    places = {key: written.root.where(tuple(key.split("."))).replace(str(tmp_path), "") for key in ("a.x", "a.y", "a.z", "b")}
    assert places == {
        "a.x": "/main.yaml:2: a.x", "a.y": "command line: a.y=9", "a.z": "/one.yaml:1: a.z", "b": "/two.yaml:2: b"
    }  # fmt: skip
    assert written.text.startswith("extends:") and written.notes == []


def test_a_mapping_whose_plugin_changes_is_replaced_whole_and_says_so(tmp_path):
    base = "optimizer: {plugin: adamw, lr: 1, eps: 2}\n"
    written = layered(tmp_path, "extends: [base.yaml]\noptimizer: {plugin: sgd, lr: 3}\n", base=base)
    assert written.root.plain == {"optimizer": {"plugin": "sgd", "lr": 3}}
    [note] = written.notes
    assert "main.yaml:2: optimizer.plugin: 'adamw' becomes 'sgd'" in note and "base.yaml:1" in note and note.endswith(": eps")


@pytest.mark.parametrize(
    ("base", "over", "merged"),
    [
        ("{plugin: a, x: 1}", "{plugin: 'acme:a', y: 2}", {"plugin": "acme:a", "x": 1, "y": 2}),
        ("{plugin: 'zen:a', x: 1}", "{plugin: 'acme:a', y: 2}", {"plugin": "acme:a", "y": 2}),
        ("{x: 1}", "{plugin: standard, y: 2}", {"plugin": "standard", "x": 1, "y": 2}),
        ("{x: 1}", "{plugin: other, y: 2}", {"plugin": "other", "y": 2}),
        ("{plugin: other, x: 1}", "{plugin: null, y: 2}", {"plugin": None, "y": 2}),
        ("{plugin: other, x: 1}", "{y: 2}", {"plugin": "other", "x": 1, "y": 2}),
        ("{plugin: other, x: 1}", "null", None),
    ],
)
def test_whether_a_plugin_changes_counts_what_is_implied(tmp_path, base, over, merged):
    written = layered(tmp_path, f"extends: [base.yaml]\noptimizer: {over}\n", base=f"optimizer: {base}\n")
    assert written.root.plain == {"optimizer": merged}


def test_the_order_of_overrides_does_not_decide_what_a_changed_plugin_leaves_out(tmp_path):
    text = "optimizer: {plugin: adamw, lr: 1}\n"
    for overrides in (["optimizer.plugin=sgd", "optimizer.lr=5"], ["optimizer.lr=5", "optimizer.plugin=sgd"]):
        assert layered(tmp_path, text, overrides).root.plain == {"optimizer": {"plugin": "sgd", "lr": 5}}


# A key is a mapping in every layer or in none, as in recipes: a scalar between two mappings cuts what lies below it.
LAYER = st.fixed_dictionaries(
    {}, optional={"a": st.integers(), "b": st.integers(), "c": st.dictionaries(st.sampled_from("de"), st.integers())}
)


@given(LAYER, LAYER, LAYER)
def test_merging_is_associative(a, b, c):
    x, y, z = (Node.of(value, Place(name)) for value, name in ((a, "a"), (b, "b"), (c, "c")))

    def over(old, new):
        return merge(old, new, (), lambda key: None, [])

    assert over(over(x, y), z).plain == over(x, over(y, z)).plain == over(over(x, y), over(y, z)).plain


@pytest.mark.parametrize(
    ("text", "others", "told"),
    [
        (
            "extends: [base.yaml]",
            {"base": "extends: [more.yaml]", "more": "extends: [demo]"},
            "more.yaml:1: extends: demo would be the third file deep",
        ),
        ("extends: demo", {}, "main.yaml:1: extends: expected a list"),
        ("x: 1\nextends: [bass.yaml]", {"base": "x: 1"}, "main.yaml:2: extends: no recipe 'bass.yaml'\n  did you mean "),
        ("extends: [demmo]", {}, "main.yaml:1: extends: no recipe 'demmo'\n  did you mean 'demo'?"),
        ("extends: [base.yaml]", {"base": "a: ["}, "base.yaml:1: not YAML"),
        ("extends: [base.yaml]", {"base": "- a"}, "base.yaml: a recipe is a mapping of sections"),
        ("", {}, "main.yaml: a recipe is a mapping of sections"),
    ],
)
def test_what_is_wrong_with_extending_is_told_with_its_place(tmp_path, monkeypatch, text, others, told):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError) as caught:
        layered(tmp_path, text, **others)
    assert str(caught.value).startswith(told)


def test_what_is_extended_may_extend_and_lies_over_what_it_does(tmp_path):
    others = {"base": "extends: [more.yaml, small]\na: 2\nb: 2\n", "more": "a: 1\nb: 1\nc: 1\n"}
    root = layered(tmp_path, "extends: [base.yaml]\na: 3\n", **others).root.plain
    assert (root["a"], root["b"], root["c"]) == (3, 2, 1) and root["train"]["steps"], "small is a part that ships"


def test_names_joined_by_commas_lie_over_each_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("extends: [demo]\ntrain: {steps: 5, clip: 1}\n")
    written = read_recipe("mine.yaml,small", ["train.log_every=3"], lambda key: None)
    assert written.source == "mine.yaml,small" and written.text.startswith("extends: [mine.yaml, small]\n# ---- ")
    assert "# train: {steps: 5, clip: 1}\n" in written.text and "${DRIVETRAIN_DATA" in written.text, "as launchers look for it"
    assert written.root.plain["train"] == {"steps": 200, "clip": 1, "log_every": 3}
    with pytest.raises(RecipeError, match="no recipe 'smal'\n  did you mean 'small'"):
        read_recipe("demo,smal", [], lambda key: None)
    with pytest.raises(RecipeError, match="no recipe 'small'"):
        read_recipe("small", [], lambda key: None)


def test_settings_for_no_plugin_yet_are_those_of_the_one_that_is_named(tmp_path):
    (tmp_path / "base.yaml").write_text("model: {width: 8}\n")
    (tmp_path / "main.yaml").write_text("extends: [base.yaml]\nmodel: {plugin: m}\n")
    written = read_recipe(tmp_path / "main.yaml", [], lambda key: None)
    assert written.root.plain["model"] == {"width": 8, "plugin": "m"} and not written.notes


def test_a_shipped_recipe_can_be_extended_by_name(tmp_path):
    root = layered(tmp_path, "extends: [demo]\ntrain: {steps: 5}\n").root.plain
    assert root["train"]["steps"] == 5 and root["data"]["train"]["demo"]["shards"].endswith("demo/train")


@pytest.mark.parametrize("text", ["train", "=5", "a..b=1", ".a=1"])
def test_an_override_of_another_form_is_refused(tmp_path, text):
    with pytest.raises(RecipeError, match=r"command line: .*: expected key\.sub=value"):
        layered(tmp_path, "a: 1", [text])


def test_values_of_the_command_line_are_yaml():
    assert [parse_value(text) for text in ("5", "[1, a]", "{x: no}", "", "'5'")] == [5, [1, "a"], {"x": "no"}, None, "5"]
    with pytest.raises(RecipeError, match="command line"):
        parse_value("[1")
