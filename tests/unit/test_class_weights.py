"""``drivetrain data weights``: what the index counts, in the recipe's classes, made into weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL, drivetrain

from drivetrain import UserError, decode_pixels, open_recipe, open_shards
from drivetrain.class_weights import class_weights, count_classes

TASK = "semantic_segmentation"


def test_counts_are_those_of_the_masks_and_weights_their_rule(shards):
    recipe = open_recipe(SMALL)
    opened = open_shards(str(shards / "train"))
    [source] = recipe.data_spec_sources("train")
    mapping = source.taxonomy[TASK]
    names = {info.id: mapping.get(info.name, info.name) for info in opened.classes[TASK]}
    expected = dict.fromkeys(recipe.classes[TASK], 0)
    for number in range(len(opened)):
        mask = decode_pixels("semantic", next(iter(opened.frame(number).cameras.values())).semantic)
        for k, count in enumerate(np.bincount(mask.ravel(), minlength=256)):
            if names.get(k) in expected:
                expected[names[k]] += int(count)
    assert count_classes(recipe, TASK) == expected
    share = np.array(list(expected.values())) / sum(expected.values())
    for rule, weights in (("log", 1 / np.log(1.1 + share)), ("median", np.median(share) / share)):
        found = class_weights(recipe, None, rule)
        assert list(found) == list(expected)
        assert list(found.values()) == pytest.approx(weights / weights.mean(), abs=6e-4)
    with pytest.raises(UserError, match="no rule 'logg'"):
        class_weights(recipe, None, "logg")


def test_what_is_printed_goes_into_a_recipe(shards, tmp_path: Path):
    done = drivetrain("data", "weights", SMALL)
    assert done.returncode == 0, done.stderr
    recipe = tmp_path / "weighed.yaml"
    recipe.write_text(f"extends: [{SMALL}]\nmodel: {{{done.stdout.strip()}}}\n")
    config = open_recipe(str(recipe)).plugin("model").config
    assert config.class_weights == class_weights(open_recipe(SMALL), None, "log")
