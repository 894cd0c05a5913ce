"""What a model costs, of a real one."""

from __future__ import annotations

import pytest
from conftest import SMALL

from drivetrain import Comm, UserError, open_recipe
from drivetrain.cost import cost


def test_cost_is_of_the_whole_model_and_only_what_is_asked_for(monkeypatch):
    from torchvision.models.segmentation import lraspp_mobilenet_v3_large

    monkeypatch.setenv("SMALL_SHARDS", "nowhere")
    recipe = lambda *names: open_recipe(SMALL, f"evaluation.cost=[{', '.join(names)}]")
    comm = Comm.start()
    whole = recipe("latency_ms", "parameters", "memory_bytes")
    found = cost(whole, comm, (32, 48))
    assert list(found) == ["latency_ms", "parameters", "memory_bytes"]
    published = lraspp_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=len(whole.classes["semantic_segmentation"])
    )
    assert found["parameters"] == sum(p.numel() for p in published.parameters())
    assert 0.1 < found["latency_ms"] < 1e5 and found["memory_bytes"] > 4 * found["parameters"]
    assert cost(recipe("parameters"), comm, None) == {"parameters": found["parameters"]}
    with pytest.raises(UserError, match="a model that sees pictures"):
        cost(recipe("latency_ms"), comm, None)
