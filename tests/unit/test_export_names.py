"""What the outputs of an export are called."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from drivetrain.model import named_outputs

ONE, TWO = torch.zeros(1), torch.zeros(2)


class Named(nn.Module):
    outputs = ("boxes", "scores")


@pytest.mark.parametrize(("module", "said", "names"), [
    (Named(), (ONE, TWO), ["boxes", "scores"]),
    (Named(), {"x": ONE, "y": TWO}, ["boxes", "scores"]),
    (nn.Module(), {"task/x": ONE, "task/y": TWO}, ["task/x", "task/y"]),
    (nn.Module(), (ONE, TWO), ["output_0", "output_1"]),
    (nn.Module(), ONE, ["output_0"]),
])  # fmt: skip
def test_a_module_says_it_or_its_mapping_does(module, said, names):
    found = named_outputs(module, said)
    assert list(found) == names and found[names[0]] is ONE
