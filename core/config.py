"""The base of plugins' configs, and settings that several plugins share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

from .errors import UserError, near_matches

if TYPE_CHECKING:
    from .recipe import Recipe


class PluginConfig(BaseModel):
    """A pydantic model that refuses unknown keys and does not turn a string into a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def advice(self, recipe: Recipe) -> Mapping[str, str]:
        """What ``recipe check`` warns of: a field's name -> why its value, though allowed, does badly in ``recipe``."""
        return {}


Weight = Annotated[float, Field(ge=0)]


class MaskLossConfig(PluginConfig):
    """How a mask of class ids is learnt: see `drivetrain.MaskLoss`."""

    class_weights: dict[str, Weight] | list[Weight] | None = Field(
        None, description="weights of the classes in the loss: one each in their order, or by name (others 1)"
    )
    focal: float = Field(0.0, ge=0, description="exponent with which pixels count less that are right already; 0: not")
    hardest: float = Field(1.0, gt=0, le=1, description="share of each picture's pixels, the hardest, that are learnt from")
    lovasz: float = Field(0.0, ge=0, description="weight of the Lovasz-softmax loss, which stands for mean IoU")
    dice: float = Field(0.0, ge=0, description="weight of the dice loss")
    region_step: int = Field(4, ge=1, description="lovasz and dice look at every so many-th pixel of as many-th rows")

    def weights_of(self, classes: Sequence[str], where: str) -> list[float]:
        """One weight a class. Raises UserError, of ``where``, for another number of weights and for names of no class."""
        given = self.class_weights
        if given is None:
            return [1.0] * len(classes)
        if isinstance(given, dict):
            for name in given:
                if name not in classes:
                    raise UserError(f"{name!r} is no class of this recipe", where=where, near=near_matches(name, classes))
            return [given.get(name, 1.0) for name in classes]
        if len(given) != len(classes):
            raise UserError(f"{len(given)} weights for {len(classes)} classes", where=where,
                            remedy=f"the classes are: {', '.join(classes)}")  # fmt: skip
        return given
