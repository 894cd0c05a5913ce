"""What of offload is refused before anything is allocated; that it works, and changes nothing: integration/test_features.py."""

from __future__ import annotations

import psutil
import pytest
import torch
from pydantic import ValidationError

from drivetrain import Comm, UserError
from drivetrain.plugins.parallelism.deepspeed.config import DeepSpeedConfig, OffloadConfig
from drivetrain.plugins.parallelism.deepspeed.offload import check_memory, offload_settings


def comm(world: int, local_world: int) -> Comm:
    return Comm(0, world, 0, local_world, torch.device("cpu"), 1)


def test_what_does_not_fit_this_host_is_refused_with_figures():
    free = psutil.virtual_memory().available
    both = OffloadConfig(optimizer="cpu", parameters="cpu")
    fits, too_many = free // 24 // 2, free // 24 * 2
    check_memory(both, fits, comm(1, 1))
    with pytest.raises(UserError, match=r"needs about \d+\.\d GiB of this host's memory, \d+\.\d GiB are free"):
        check_memory(both, too_many, comm(2, 2))
    check_memory(both, too_many, comm(8, 2))  # a host holds its own ranks' share
    check_memory(OffloadConfig(), 10**15, comm(1, 1))


@pytest.mark.parametrize(
    "values, said",
    [
        ({"zero_stage": 2, "offload": {"optimizer": "nvme"}}, "'nvme' is not supported.* cannot be verified without a GPU"),
        ({"zero_stage": 2, "offload": {"parameters": "cpu"}}, "needs ZeRO stage 3"),
        ({"zero_stage": 0, "offload": {"optimizer": "cpu"}}, "needs ZeRO stage 1, 2 or 3"),
    ],
)
def test_what_cannot_be_offloaded_is_refused(values, said):
    with pytest.raises(ValidationError, match=said):
        DeepSpeedConfig(**values)


def test_deepspeed_is_told_in_its_own_words():
    assert offload_settings(OffloadConfig(), pin=True) == {}
    place = {"device": "cpu", "pin_memory": True}
    both = OffloadConfig(optimizer="cpu", parameters="cpu")
    assert offload_settings(both, pin=True) == {"offload_optimizer": place, "offload_param": place}
