"""The ranks of a job: who they are, and how they talk about things that are not gradients.

The process group is read from the environment that ``deepspeed`` and ``torchrun`` set; without it there is one rank.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from .errors import UserError
from .run import host_name
from .watch import Watch


@dataclass
class Comm:
    """``rank`` of ``world``, ``local_rank`` of ``local_world`` on this host, the ``device`` of this rank, and the CPU
    cores that are its share. Every method is collective: all ranks call it, in the same order."""

    rank: int
    world: int
    local_rank: int
    local_world: int
    device: torch.device
    cores: int
    watch: Watch = field(default_factory=Watch)
    _objects: Any = None
    _started: bool = False

    @staticmethod
    def start(timeout_s: float = 1800) -> Comm:
        """Join the job that the environment describes, and set this rank's threads to its share of the cores, or to
        ``DRIVETRAIN_THREADS``: sums of floats depend on it, so runs that are compared need the same."""
        rank, world = rank_from_environment(), world_from_environment()
        local_rank, local_world = _integer("LOCAL_RANK", 0), _local_world(world)
        if not 0 <= rank < world:
            raise UserError(f"RANK={rank} is outside WORLD_SIZE={world}", remedy="start ranks with deepspeed or torchrun")
        cores = _integer("DRIVETRAIN_THREADS", max(1, len(os.sched_getaffinity(0)) // local_world))
        torch.set_num_threads(cores)
        comm = Comm(rank, world, local_rank, local_world, _device(local_rank), cores, Watch(rank, world))
        if world > 1:
            comm._connect(timedelta(seconds=timeout_s))
        comm.watch.join(comm.broadcast, host_name(), os.environ.get("MASTER_ADDR", "localhost"))
        return comm

    def _connect(self, timeout: timedelta) -> None:
        if not dist.is_initialized():
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo", timeout=timeout)
            self._started = True
        # Python objects go over gloo: with nccl they would have to pass through the device.
        self._objects = dist.new_group(backend="gloo", timeout=timeout) if self.device.type == "cuda" else dist.group.WORLD

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def broadcast(self, value: Any) -> Any:
        """Rank 0's ``value``, pickled, on every rank."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self._objects)
        return box[0]

    def gather(self, value: Any) -> list[Any] | None:
        """On rank 0 every rank's ``value`` in the order of ranks, elsewhere None."""
        if self.world == 1:
            return [value]
        out: list[Any] | None = [None] * self.world if self.is_main else None
        dist.gather_object(value, out, dst=0, group=self._objects)
        return out

    def all_gather(self, value: Any) -> list[Any]:
        """Every rank's ``value`` on every rank."""
        if self.world == 1:
            return [value]
        out: list[Any] = [None] * self.world
        dist.all_gather_object(out, value, group=self._objects)
        return out

    def barrier(self) -> None:
        if self.world > 1:
            dist.barrier(group=self._objects)

    def average_(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace floating ``tensors`` by their means over ranks, in place, in one reduction a dtype."""
        if self.world == 1:
            return
        for dtype in dict.fromkeys(t.dtype for t in tensors if t.is_floating_point()):
            same = [t for t in tensors if t.dtype == dtype]
            flat = torch.cat([t.reshape(-1) for t in same])
            dist.all_reduce(flat)
            flat /= self.world
            for t, mean in zip(same, flat.split([t.numel() for t in same])):
                t.copy_(mean.view_as(t))

    def together(self, work: Callable[[], Any]) -> Any:
        """Do ``work``, which talks to no other rank, and go on only if it went well on every rank.

        Raises, on every rank, the error of the lowest rank that had one.
        """
        error: Exception | None = None
        result = None
        try:
            result = work()
        except Exception as caught:
            error = caught
        told = error if error is None or isinstance(error, UserError) else RuntimeError(f"rank {self.rank}: {error!r}")
        for rank, other in enumerate(self.all_gather(told)):
            if other is not None:
                first = error if rank == self.rank and error is not None else other
                if isinstance(first, UserError):
                    first.told = True
                raise first
        return result

    def close(self) -> None:
        self.watch.close()
        self.barrier()  # none ends while another is at work: the launcher would end that, and the watch miss it
        if self._started and dist.is_initialized():
            dist.destroy_process_group()
            self._started = False


def world_from_environment() -> int:
    """The number of ranks of this job, without joining it."""
    _adopt_slurm()
    return _integer("WORLD_SIZE", 1)


def rank_from_environment() -> int:
    _adopt_slurm()
    return _integer("RANK", 0)


def local_world_from_environment() -> int:
    """The number of this job's ranks on this host, without joining it: who shares what lies there."""
    words = _from_slurm()
    return int(words["LOCAL_WORLD_SIZE"]) if words else _local_world(_integer("WORLD_SIZE", 1))


_SLURM = {"RANK": "SLURM_PROCID", "WORLD_SIZE": "SLURM_STEP_NUM_TASKS", "LOCAL_RANK": "SLURM_LOCALID",
          "LOCAL_WORLD_SIZE": "SLURM_STEP_TASKS_PER_NODE"}  # fmt: skip


def _adopt_slurm() -> None:
    """Under ``srun``, put Slurm's words for a rank under the names that every launcher uses. Raises UserError without
    ``MASTER_ADDR`` and ``MASTER_PORT``, which Slurm does not give."""
    words = _from_slurm()
    if words and not {"MASTER_ADDR", "MASTER_PORT"} <= set(os.environ):
        raise UserError("srun started several ranks that do not know where to meet",
                        remedy="before srun: export MASTER_ADDR=$(hostname) MASTER_PORT=29500")  # fmt: skip
    os.environ.update(words)


def _from_slurm() -> dict[str, str]:
    """What every launcher says of a rank, from ``srun``; empty where it started fewer than two, or a launcher has said it."""
    if "RANK" in os.environ or int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) < 2:
        return {}
    return {name: os.environ[theirs].partition("(")[0].partition(",")[0] for name, theirs in _SLURM.items()}  # 8(x3)


def _integer(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    if not text:
        return default
    if not text.lstrip("-").isdigit():
        raise UserError(f"environment variable {name}={text!r}: expected a whole number")
    return int(text)


def _local_world(world: int) -> int:
    for name in ("LOCAL_WORLD_SIZE", "LOCAL_SIZE"):
        if os.environ.get(name):
            return _integer(name, 1)
    return world


def _device(local_rank: int) -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)
