"""The counter of waits for the device sees what waits, and nothing else."""

from __future__ import annotations

import pytest
import torch

from drivetrain.testing import host_syncs, make_batch, on_meta

X = torch.arange(6.0)
READERS = {
    "item": lambda: X[0].item(),
    "float": lambda: float(X.sum()),
    "bool": lambda: bool(X.any()),
    "nonzero": lambda: X.nonzero(),
    "mask": lambda: X[X > 2],
    "masked_select": lambda: X.masked_select(X > 2),
    "write_under_a_mask": lambda: X.clone().__setitem__(X > 2, torch.zeros(3)),
    "unique": lambda: X.unique(),
    "repeat": lambda: X.repeat_interleave(torch.ones(6, dtype=torch.int64)),
    "equal": lambda: torch.equal(X, X),
}


@pytest.mark.parametrize("name", READERS)
def test_readers_are_counted(name):
    assert host_syncs(READERS[name])


def test_what_stays_on_the_device_is_not():
    index = torch.tensor([0, 2])
    assert (
        host_syncs(lambda: (X[index], torch.where(X > 2, X, 0), X.gather(0, index), X.topk(2), X.masked_fill(X > 2, 0))) == []
    )


def test_lists_are_found_on_meta():
    batch = on_meta(make_batch("object_detection", ("car",), (32, 32)))
    with pytest.raises((NotImplementedError, RuntimeError)):
        batch.camera.sizes.tolist()
