"""A trained model outside training: from a run's checkpoint to predictions, on one rank or several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from .batch import Batch
from .building import build_loader, build_model, data_spec
from .checkpoint import Checkpoint, find_checkpoint
from .comm import Comm
from .contracts import DataSpec, EvaluationStream, Metric, Panel
from .errors import UserError
from .evaluate import drawn_classes, evaluate
from .frame import ClassInfo
from .manager import PluginManager
from .prediction import Prediction
from .recipe import Recipe
from .run import RunFolder
from .slices import Slices
from .tiles import Predict, tiled


class Predictor:
    """The model of a run, with the weights of one checkpoint.

    ``which``: ``newest``, ``best``, or the number of a step. The weights are their running mean, where the run kept one and
    ``raw`` does not ask for the others. Raises CheckpointError where there is none.
    """

    def __init__(self, folder: RunFolder, comm: Comm, manager: PluginManager, which: str = "newest",
                 say: Callable[[str], None] = print, raw: bool = False):  # fmt: skip
        self.folder, self.comm = folder, comm
        self.recipe = Recipe.from_resolved(folder.resolved_recipe(), manager)
        # Rank 0 chooses: the run may be training, and its newest checkpoint another one a moment later.
        chosen = comm.together(lambda: find_checkpoint(folder.checkpoints, which, say).path if comm.is_main else None)
        self.checkpoint = Checkpoint(comm.broadcast(chosen), content=False)
        self.weights = "ema" if not raw and self.checkpoint.names("ema") else "raw"
        self.model = build_model(self.recipe, say, self.checkpoint, "weight" if raw else "ema").to(comm.device).eval()

    @property
    def name(self) -> str:
        """The model's."""
        return self.recipe.plugins["model"].found.declaration.name

    def __call__(self, batch: Batch) -> list[Prediction]:
        device = self.comm.device
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            return self.model(batch.to(device))

    def evaluate(self, out: Path, split: str = "val", spec: DataSpec | None = None, panels: int = 0,
                 metrics: Mapping[str, Metric] | None = None, slices: Slices | None = None, predict: Predict | None = None,
                 ) -> tuple[dict[str, Any], list[Panel]]:  # fmt: skip
        """Predict a split of the recipe, or what ``spec`` says, into a prediction set at ``out``, and score it with
        ``metrics`` (`drivetrain.evaluate`). ``predict``: what does it in the model's place."""
        stream = self.stream(spec or data_spec(self.recipe, split))
        about = {"run": self.folder.info()["id"], "step": self.checkpoint.step, "classes": self.recipe.classes, "split": split}
        try:
            whole = tiled(predict or self, self.recipe)
            return evaluate(whole, stream, metrics or {}, self.comm, out, about, panels, slices=slices)
        finally:
            stream.close()

    def evaluate_as(self, other: Recipe, out: Path, split: str, metrics: Mapping[str, Metric]) -> dict[str, Any]:
        """Held against the labels of another recipe's split and scored by its ``metrics``: two models on the same frames.

        Raises UserError where the classes of a metric's task are others."""
        for name, chosen in other.metrics.items():
            task = chosen.found.declaration.task
            if self.recipe.classes.get(task) != other.classes[task]:
                own = ", ".join(self.recipe.classes.get(task, ())) or "none"
                raise UserError(f"{self.folder.path} has other classes of {task}, which {name} scores: {own}",
                                remedy=f"expected {', '.join(other.classes[task])}, in this order")  # fmt: skip
        theirs = data_spec(other, split)
        spec = replace(data_spec(self.recipe, split), sources=theirs.sources, tasks=theirs.tasks, classes=theirs.classes,
                       cameras=theirs.cameras)  # fmt: skip
        return self.evaluate(out, split, spec, metrics=metrics)[0]

    def drawn_classes(self) -> dict[str, list[ClassInfo]]:
        """The recipe's classes, with colours for pictures."""
        return drawn_classes(self.recipe, build_loader(self.recipe))

    def stream(self, spec: DataSpec) -> EvaluationStream:
        """This rank's batches of what ``spec`` says, to be closed by the caller."""
        micro = self.recipe.evaluation.batch or self.recipe.batch.micro
        comm = self.comm
        return build_loader(self.recipe).evaluation(
            spec, batch_micro=micro, rank=comm.rank, world=comm.world, threads=comm.cores, pin=comm.device.type == "cuda"
        )
