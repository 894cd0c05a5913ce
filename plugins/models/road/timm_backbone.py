"""Networks of timm in the place of our backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from drivetrain import UserError, near_matches

from .config import TimmConfig

_WHERE = "model.backbone"
_OURS = ("pretrained", "pretrained_cfg", "checkpoint_path", "features_only", "out_indices", "in_chans", "num_classes")


class TimmBackbone(nn.Module):
    """Normalised pictures [B, 3, H, W], sides multiples of 32, to maps [B, channels[i], H / s, W / s] at ``strides``.

    Nothing is downloaded. Raises UserError for what timm does not know or cannot build, and for networks that lack a stride.
    """

    def __init__(self, config: TimmConfig, strides: Sequence[int]):
        super().__init__()
        timm = _library()
        if not timm.is_model(config.timm):
            raise UserError(f"timm has no network {config.timm!r}", where=f"{_WHERE}.timm",
                            near=near_matches(config.timm, timm.list_models()))  # fmt: skip
        for name in set(_OURS) & set(config.options):
            raise UserError(f"{name} cannot be set", where=f"{_WHERE}.options.{name}", remedy="weights: model.init_from")
        info = _network(timm, config, {}).feature_info
        at = dict(zip(info.reduction(), info.out_indices))  # the last of those of one stride, which has seen most
        if missing := [stride for stride in strides if stride not in at]:
            raise UserError(f"timm's {config.timm} has maps at the strides {sorted(set(at))}, none at {_list(missing)}",
                            where=f"{_WHERE}.timm", remedy="name a network with a pyramid of maps")  # fmt: skip
        self.net = _network(timm, config, {"out_indices": [at[stride] for stride in strides]})
        self.channels = tuple(self.net.feature_info.channels())
        said = self.net.pretrained_cfg
        self.normalisation = (tuple(said["mean"]), tuple(said["std"]))

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = self.net(images)
        is_last = str(getattr(self.net, "output_fmt", "NCHW")).endswith("NHWC")
        return [x.permute(0, 3, 1, 2).contiguous() for x in maps] if is_last else list(maps)

    def own_names(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Of weights as timm names them when it builds all of the network."""
        own = {_flat(key): f"backbone.net.{key}" for key in self.net.state_dict()}
        return {own.get(_flat(key), key): value for key, value in weights.items()}


def _network(timm: Any, config: TimmConfig, options: Mapping[str, Any]) -> Any:
    try:
        return timm.create_model(config.timm, pretrained=False, features_only=True, **config.options, **options)
    except (TypeError, ValueError, RuntimeError, AssertionError, AttributeError, KeyError) as error:
        raise UserError(f"timm cannot build maps of {config.timm}: {error}", where=_WHERE,
                        remedy="name another network, or other options") from error  # fmt: skip


def _flat(name: str) -> str:
    """Timm joins or wraps modules where only maps are asked for: stages.0 becomes stages_0, and a getter holds its model."""
    return name.removeprefix("model.").removeprefix("body.").replace(".", "_")


def _list(strides: Sequence[int]) -> str:
    return " and ".join(map(str, strides))


def _library() -> Any:
    try:
        import timm
    except ImportError as error:
        raise UserError(f"a backbone of timm needs timm, which does not import here: {error}", where=_WHERE,
                        remedy="pip install 'drivetrain[timm]'") from error  # fmt: skip
    return timm
