"""Which stretch of which parameter this rank owns, stage by stage (read from DeepSpeed 0.19's optimizers)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from drivetrain import Piece, whole_pieces


def trained_pieces(engine: Any, optimizer: Any, stage: int, rank: int) -> list[Piece]:
    """The trained parameters' pieces on this rank; at stage 0 every rank holds all of them, whole."""
    module = engine.module
    if stage == 0:
        return [p for p in whole_pieces(module) if p.flat.requires_grad]
    named = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
    make = _piece_of_stage_3 if stage == 3 else _piece_of_stage_1_2
    return [piece for name, p in named if (piece := make(optimizer, name, p, rank)) is not None]


def frozen_pieces(module: torch.nn.Module, stage: int, rank: int, world: int) -> list[Piece]:
    """Parameters that are not trained: no optimizer knows them, a checkpoint does."""
    if stage == 0:
        return [p for p in whole_pieces(module) if not p.flat.requires_grad]
    if stage < 3:
        return [p for p in whole_pieces(module, rank, world) if not p.flat.requires_grad]
    parameters: Iterable[tuple[str, Any]] = module.named_parameters()  # with what DeepSpeed has put on them
    frozen = [(n, p, *_stretch(n, p, rank)) for n, p in parameters if not p.requires_grad]
    return [Piece(n, shape, start, numel, p.ds_tensor) for n, p, shape, start, numel in frozen if numel]


def prepare_state(optimizer: Any, stage: int) -> None:
    """Nothing is made ahead of a load: `Checkpoint.load_pieces` makes the state that it fills. What DeepSpeed made when it
    started (a step on zero gradients) is thrown away, and its links to it are renewed at the next use."""
    inner = optimizer.optimizer if stage else optimizer
    inner.state.clear()
    if stage in (1, 2):
        optimizer._hp_optimizer_states_linked = False


def spread_weights(optimizer: Any, stage: int) -> None:
    """As at the end of a step: what ranks own goes into the module's parameters, or, at stage 3, into the partitions that are
    gathered for a forward pass and the small parameters that stay gathered."""
    if stage in (1, 2):
        optimizer.update_lp_params()
    elif stage == 3:
        optimizer._partition_all_parameters()
        for group in range(len(optimizer.fp16_groups)):
            optimizer._reassign_or_swap_out_partitioned_parameters(group)
        if kept := optimizer.persistent_parameters:
            kept[0].all_gather(kept)


def _piece_of_stage_1_2(optimizer: Any, name: str, parameter: Any, rank: int) -> Piece | None:
    mapping = parameter._hp_mapping
    if mapping is None:  # no part of it lies in this rank's partition
        return None
    flat = optimizer.single_partition_of_fp32_groups[mapping.param_group_index]
    start, numel = mapping.lp_fragment_address.start, mapping.lp_fragment_address.numel
    return Piece(name, tuple(parameter.shape), start, numel, flat, mapping.hp_fragment_address.start)


def _piece_of_stage_3(optimizer: Any, name: str, parameter: Any, rank: int) -> Piece | None:
    shape, start, numel = _stretch(name, parameter, rank)
    group, offset, _ = optimizer.grad_position[optimizer.get_param_id(parameter)]
    flat = optimizer.fp32_partitioned_groups_flat[group]
    return Piece(name, shape, start, numel, flat, offset) if numel else None


def _stretch(name: str, parameter: Any, rank: int) -> tuple[tuple[int, ...], int, int]:
    """Shape, start and length of a rank's partition; the last one's padding is left out."""
    size = parameter.ds_tensor.ds_numel
    start = min(rank * size, parameter.ds_numel)
    return tuple(parameter.ds_shape), start, min(size, parameter.ds_numel - start)
