"""``road_multitask``: one backbone and neck, and a head for each task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from drivetrain import Batch, CameraLabels, Model, ModelContext, Prediction, UserError, near_matches, normalise_images

from .backbone import STRIDES, backbone_of, size_of
from .boxes import LEVELS, BoxesHead
from .depth import DepthHead
from .detector import pad
from .heads import Fuse, Head, Terms
from .lanes import LaneHead
from .masks import MaskHead
from .multitask_config import RoadMultitaskConfig
from .neck import Neck

Classes = tuple[str, ...]
_HEADS: dict[str, Callable[[RoadMultitaskConfig, int, Classes], Head]] = {
    "object_detection": lambda config, width, classes: BoxesHead(config.object_detection, width, classes),
    "semantic_segmentation": lambda config, width, classes: MaskHead(
        "semantic_segmentation", config.semantic_segmentation, width, classes
    ),
    "drivable_area": lambda config, width, classes: MaskHead("drivable_area", config.drivable_area, width, classes),
    "lane_detection": lambda config, width, classes: LaneHead(config.lane_detection, width, classes),
    "depth_estimation": lambda config, width, classes: DepthHead(config.depth_estimation, width),
}


class RoadMultitask(Model):
    """Losses are named TASK/LOSS and told at each head. A picture without labels of a task teaches that task's head nothing.

    With ``balance: uncertainty`` a task's losses are weighed by a variance that is learnt (Kendall et al., Multi-task Learning
    Using Uncertainty, 2018), whose logarithm is the loss TASK/variance; it rests while a task has no labels.
    """

    def __init__(self, config: RoadMultitaskConfig, context: ModelContext):
        super().__init__()
        size = size_of(config.size, config.width)
        heads = {task: _HEADS[task](config, size.neck, context.classes[task]) for task in context.tasks}
        is_fine = any(head.reads_stride_4 for head in heads.values())
        self.backbone = backbone_of(size, config.backbone, STRIDES if is_fine else LEVELS)
        self.neck = Neck(self.backbone.channels[-len(LEVELS) :], size.neck)
        self.fuse = Fuse(self.backbone.channels[0] if is_fine else None, size.neck)
        self.heads = nn.ModuleDict(heads)
        self.task_weights = {task: config.task_weights.get(task, 1.0) for task in heads}
        learnt = heads if config.balance == "uncertainty" else ()
        self.log_variance = nn.ParameterDict({task: nn.Parameter(torch.zeros(1)) for task in learnt})

    def said(self, images: Tensor) -> dict[str, Any]:
        """What each task's head says of normalised pictures [B, 3, H, W] of any size."""
        maps = self.backbone(pad(images))
        fused = self.fuse(maps[0], self.neck(maps[-len(LEVELS) :]))
        return {task: head(fused) for task, head in self.heads.items()}

    def losses(self, batch: Batch) -> Terms:
        camera = batch.camera
        out: Terms = {}
        for task, said in self.said(normalise_images(camera.images, *self.normalisation())).items():
            terms = self.heads[task].losses(said, camera)  # type: ignore[operator]
            out |= self._balanced(task, terms, camera.labelled[task].sum().float())
        return out

    def predict(self, batch: Batch) -> list[Prediction]:
        said = self.said(normalise_images(batch.camera.images, *self.normalisation()))
        return self._predictions(batch, lambda task, head: head.predict(said[task], batch.camera))

    def predict_from(self, outputs: Mapping[str, Tensor], batch: Batch) -> list[Prediction]:
        def of_task(task: str, head: Any) -> list[Any]:
            own = {name.removeprefix(f"{task}/"): value for name, value in outputs.items() if name.startswith(f"{task}/")}
            return head.predict_from(own, batch.camera)

        return self._predictions(batch, of_task)

    def own_names(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return self.backbone.own_names(weights)

    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return self.backbone.normalisation

    def export_module(self) -> nn.Module:
        """float32 [B, 3, H, W] normalised pictures to what each head's ``exported`` tells, named TASK/NAME."""
        return _Export(self).eval()

    def _predictions(self, batch: Batch, of_task: Callable[[str, Any], list[Any]]) -> list[Prediction]:
        """``of_task``: what a task's head finds in each picture."""
        found: dict[str, list[Any]] = {head.field: of_task(task, head) for task, head in self.heads.items()}  # type: ignore
        each = ({field: values[i] for field, values in found.items()} for i in range(len(batch)))
        return [Prediction(key, {batch.camera_name: CameraLabels(**one)}) for key, one in zip(batch.keys, each)]

    def _balanced(self, task: str, terms: Terms, labelled: Tensor) -> Terms:
        factor: Tensor | float = self.task_weights[task]
        out = {}
        if task in self.log_variance:
            logarithm = self.log_variance[task].float().sum()
            out[f"{task}/variance"] = (factor * labelled * logarithm / 2, labelled)
            factor = factor * (-logarithm).exp() / (2 if self.heads[task].regresses else 1)
        return {f"{task}/{name}": (factor * total, weight) for name, (total, weight) in terms.items()} | out


class _Export(nn.Module):
    def __init__(self, model: RoadMultitask):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        size = (images.shape[2], images.shape[3])
        out: dict[str, Tensor] = {}
        for task, said in self.model.said(images).items():
            head: Any = self.model.heads[task]
            out |= {f"{task}/{name}": value for name, value in head.exported(said, size).items()}
        return out


def build(config: RoadMultitaskConfig, context: ModelContext) -> RoadMultitask:
    for task in config.task_weights:
        if task not in context.tasks:
            near, remedy = near_matches(task, context.tasks), f"its tasks are: {', '.join(context.tasks)}"
            raise UserError(f"the model has no task {task!r}", where="model.task_weights", near=near, remedy=remedy)
    return RoadMultitask(config, context)
