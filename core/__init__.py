"""drivetrain: training perception models for automated driving, from a laptop to a cluster.

This is the public face for plugin authors and notebooks. Names are imported when they are first used, so that
``import drivetrain`` costs nothing and needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .declarations import (
    CommandPlugin,
    CurationCheckPlugin,
    DatasetPlugin,
    Finding,
    HealthCheckPlugin,
    LoaderPlugin,
    LRSchedulePlugin,
    MetricPlugin,
    ModelPlugin,
    OptimizerPlugin,
    ParallelismPlugin,
    ScorerPlugin,
    SearchAlgorithmPlugin,
    TrackerPlugin,
    TransformPlugin,
    TrialExecutorPlugin,
    TrialSchedulerPlugin,
)
from .hookspecs import hookimpl

if TYPE_CHECKING:
    from .batch import IMAGENET_MEAN, IMAGENET_STD, Batch, CameraBatch, LidarBatch, normalise_images, pad_to_multiple
    from .box_overlap import box_overlap
    from .checkpoint import Checkpoint, Piece, persistent_buffers, whole_pieces
    from .comm import Comm, local_world_from_environment
    from .config import MaskLossConfig, PluginConfig
    from .contracts import (
        Balance,
        Dataset,
        DataSpec,
        Engine,
        EngineContext,
        EvaluationStream,
        Join,
        Loader,
        Metric,
        MetricContext,
        Panel,
        Scored,
        Scorer,
        ShardSet,
        Source,
        StepResult,
        Tracker,
        TrackerContext,
        TrainingStream,
    )
    from .cuboids import cuboid_corners, cuboid_extents, pose_matrix, rotation_matrices
    from .curation import Bars, CurationCheck, CurationFinding, Place, Sight
    from .data import convert, open_dataset
    from .engine import BaseEngine, ReplicaEngine, TorchEngine
    from .errors import (
        CheckpointError,
        DataError,
        DrivetrainError,
        OutageError,
        PluginError,
        RecipeError,
        UserError,
        near_matches,
    )
    from .frame import (
        PIXEL_LABELS,
        Boxes,
        Camera,
        CameraLabels,
        ClassInfo,
        Encoded,
        Frame,
        Lidar,
        boxes_from_json,
        boxes_to_json,
        decode_array,
        decode_key,
        encode_array,
        encode_key,
        frame_from_parts,
        frame_to_parts,
    )
    from .geometry import Optics, View, clip_line, map_boxes
    from .lanes import Lanes, lanes_from_json, lanes_to_json
    from .launcher import exported, local_gpus, outer_environment
    from .layouts import (
        check_files,
        check_layout,
        check_split,
        json_rows,
        picture_header,
        read_bytes,
        read_json,
        read_mask,
        read_picture,
        read_table,
    )
    from .mask_losses import MaskLoss
    from .metric import PictureMetric
    from .model import Losses, Model, ModelContext, block_names, loss_terms, total_loss
    from .notebook import open_recipe, open_run, open_shards
    from .official import official_pairs, read_official_json, wrong_json, wrong_line
    from .overlay import Overlay, OverlayWriter, class_info, key_hashes
    from .prediction import Prediction, boxes_in_original
    from .processes import process_pool
    from .progress import Progress
    from .rasters import decode_pixels, decode_stored, encode_pixels, stored_to_depth
    from .recipe import Recipe
    from .sample import CameraSample, LidarSample, Sample, Transform
    from .sampling import classes_at_original, sample_at_original
    from .saving import FragmentWriter
    from .search.contracts import (
        AlgorithmContext,
        ExecutorContext,
        SchedulerContext,
        SearchAlgorithm,
        TrialExecutor,
        TrialScheduler,
    )
    from .search.jobs import JobFiles, OwnedJob, job_evaluations
    from .search.space import Parameter, Space, Values, key_of
    from .search.trials import Ended, Event, Job, LossVector, Move, Report, Trial
    from .seeding import Rng, hash_array, hash_key
    from .tasks import IGNORE, TASKS
    from .taxonomy import DROP, Taxonomy, mirrored_classes
    from .where import Known, Where

_HOMES = {
    "batch": "IMAGENET_MEAN IMAGENET_STD Batch CameraBatch LidarBatch normalise_images pad_to_multiple",
    "box_overlap": "box_overlap",
    "checkpoint": "Checkpoint Piece persistent_buffers whole_pieces",
    "comm": "Comm local_world_from_environment",
    "config": "MaskLossConfig PluginConfig",
    "contracts": "Balance Dataset DataSpec Engine EngineContext EvaluationStream Join Loader Metric MetricContext Panel "
    "Scored Scorer ShardSet Source StepResult Tracker TrackerContext TrainingStream",
    "cuboids": "cuboid_corners cuboid_extents pose_matrix rotation_matrices",
    "curation": "Bars CurationCheck CurationFinding Place Sight",
    "data": "convert open_dataset",
    "engine": "BaseEngine ReplicaEngine TorchEngine",
    "errors": "CheckpointError DataError DrivetrainError OutageError PluginError RecipeError UserError near_matches",
    "frame": "PIXEL_LABELS Boxes Camera CameraLabels ClassInfo Encoded Frame Lidar boxes_from_json boxes_to_json decode_array "
    "decode_key encode_array encode_key frame_from_parts frame_to_parts",
    "geometry": "Optics View clip_line map_boxes",
    "lanes": "Lanes lanes_from_json lanes_to_json",
    "launcher": "exported local_gpus outer_environment",
    "layouts": "check_files check_layout check_split json_rows picture_header read_bytes read_json read_mask read_picture "
    "read_table",
    "mask_losses": "MaskLoss",
    "metric": "PictureMetric",
    "model": "Losses Model ModelContext block_names loss_terms total_loss",
    "official": "official_pairs read_official_json wrong_json wrong_line",
    "overlay": "Overlay OverlayWriter class_info key_hashes",
    "notebook": "open_recipe open_run open_shards",
    "prediction": "Prediction boxes_in_original",
    "processes": "process_pool",
    "progress": "Progress",
    "rasters": "decode_pixels decode_stored encode_pixels stored_to_depth",
    "recipe": "Recipe",
    "sample": "CameraSample LidarSample Sample Transform",
    "sampling": "classes_at_original sample_at_original",
    "saving": "FragmentWriter",
    "search.contracts": "AlgorithmContext ExecutorContext SchedulerContext SearchAlgorithm TrialExecutor TrialScheduler",
    "search.jobs": "JobFiles OwnedJob job_evaluations",
    "search.space": "Parameter Space Values key_of",
    "search.trials": "Ended Event Job LossVector Move Report Trial",
    "seeding": "Rng hash_array hash_key",
    "taxonomy": "DROP Taxonomy mirrored_classes",
    "tasks": "IGNORE TASKS",
    "where": "Known Where",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__version__ = "0.1.0"
__all__ = [
    "CommandPlugin", "CurationCheckPlugin", "DatasetPlugin", "Finding", "HealthCheckPlugin", "LRSchedulePlugin",
    "LoaderPlugin", "MetricPlugin", "ModelPlugin", "OptimizerPlugin", "ParallelismPlugin", "ScorerPlugin",
    "SearchAlgorithmPlugin", "TrackerPlugin", "TransformPlugin", "TrialExecutorPlugin", "TrialSchedulerPlugin",
    "hookimpl", *_HOME_OF,
]  # fmt: skip


def __getattr__(name: str):
    if name not in _HOME_OF:
        raise AttributeError(f"module 'drivetrain' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
