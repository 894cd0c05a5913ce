"""The conformance kit: what a plugin's own tests call to see that it keeps the contract.

>>> from drivetrain.testing import check_model, check_transform
>>> check_model(lambda context: build(MyConfig(), context), "object_detection", ("car", "person"))
>>> check_transform(MyTransform(MyConfig()))

A broken promise is an AssertionError that says which. Names are imported when they are first used: the checks of
transforms need no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .datasets import check_dataset
    from .metrics import check_metric
    from .models import check_model, make_batch
    from .syncs import host_syncs, on_meta
    from .transforms import check_transform

_HOME_OF = {
    "check_dataset": "datasets",
    "check_metric": "metrics",
    "check_model": "models",
    "check_transform": "transforms",
    "host_syncs": "syncs",
    "make_batch": "models",
    "on_meta": "syncs",
}
__all__ = ["check_dataset", "check_metric", "check_model", "check_transform", "host_syncs", "make_batch", "on_meta"]


def __getattr__(name: str):
    if name not in _HOME_OF:
        raise AttributeError(f"module 'drivetrain.testing' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
