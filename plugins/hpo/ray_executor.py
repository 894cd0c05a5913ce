"""Trials on a cluster of Ray: it says where, the same launcher runs there.

A placement group reserves what a trial's ranks take, and an actor within it owns the launcher's process. Both are detached and
named by study and trial: they go on when the controller is gone, and one that comes back finds them by name. The reservation
outlives an actor whose worker is killed: it is given back once the ranks, which see their owner go, have saved and left.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drivetrain import Event, ExecutorContext, Job, JobFiles, OwnedJob, UserError, exported

from .config import RayConfig
from .jobs import MARGIN_S, JobsExecutor, Process, Running
from .slurm import study_name

NAMESPACE = "drivetrain"


class Owner:
    """The actor: a launcher's process on the node that Ray chose, which ends with this worker."""

    def __init__(self, words: list[str], ranks: int, run: str, log: str, environment: dict[str, str], folder: str):
        os.chdir(folder)
        if gpus := os.environ.get("CUDA_VISIBLE_DEVICES"):  # those that Ray gave it
            environment = {**environment, "CUDA_VISIBLE_DEVICES": gpus}
        self._job = OwnedJob(words, ranks, Path(run), Path(log), environment)
        self._end: tuple[str, str] | None = None

    def await_end(self, seconds: float) -> tuple[str, str] | None:
        """(how it ended, why), as soon as it has; None where it still runs after ``seconds``."""
        end = time.monotonic() + seconds
        while self._end is None and time.monotonic() < end:
            self._end = self._job.poll()
            time.sleep(0.1)
        return self._end


class RayJob(JobFiles):
    """The controller's side of an `Owner`, which ``name`` finds."""

    def __init__(self, ray: Any, name: str, actor: Any, run: Path, log: Path, grace_s: float):
        super().__init__(run, log)
        self._ray, self.name, self._actor, self._grace_s = ray, name, actor, grace_s
        self._asked = actor.await_end.remote(0.0)
        self._leaving: list[Any] = []
        self._why, self._killed = "", False
        self.placed = False

    def poll(self) -> tuple[str, str] | None:
        if self._leaving:
            return self._await_ranks()
        done, _ = self._ray.wait([self._asked], timeout=0)
        if not done:
            return None
        try:
            end = self._ray.get(self._asked)
        except self._ray.exceptions.ActorUnavailableError:  # for now: it may answer later, and its ranks go on
            self._asked = self._actor.await_end.remote(2.0)
            return None
        except self._ray.exceptions.RayActorError as error:
            self._why = str(error).strip().splitlines()[-1 if error.actor_init_failed else 0]
            self._leaving = end_everywhere(self._ray, self.run, self._grace_s)
            return None
        self.placed = True
        self._asked = self._actor.await_end.remote(2.0) if end is None else self._asked
        return end

    def ask_to_leave(self, why: str) -> None:
        """One that still waits for room would begin by clearing what an earlier one was asked for: it is ended at once."""
        if self.placed:
            super().ask_to_leave(why)
        else:
            self.kill()

    def kill(self) -> None:
        if not self._killed:
            self._killed = True
            self._ray.kill(self._actor)

    def release(self) -> None:
        """Give back what it had reserved."""
        if not self._why:
            self._ray.kill(self._actor)
        remove_group(self._ray, self.name)

    def _await_ranks(self) -> tuple[str, str] | None:
        _, left = self._ray.wait(self._leaving, num_returns=len(self._leaving), timeout=0)
        if left:
            return None
        how = "left" if self._killed else "crashed"
        return how, f"its Ray worker is gone: {self._why}"


class RayExecutor(JobsExecutor):
    """A reservation and an actor for each trial; one that finds no room waits for it, and no other is begun meanwhile."""

    def __init__(self, config: RayConfig, context: ExecutorContext):
        super().__init__(context)
        self.config, self.ray = config, connect(config.address)
        needed = {"CPU": config.cpus * context.ranks, "GPU": float(config.gpus * context.ranks)}
        self.needed = {kind: count for kind, count in needed.items() if count}
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        if not any(all(node.get(kind, 0) >= count for kind, count in self.needed.items()) for node in nodes):
            context.say(
                f"no node of the Ray cluster has {self.needed} for a trial's {context.ranks} ranks now: waiting for one"
            )

    def has_room(self) -> bool:
        full = self.config.trials is not None and len(self._running) >= self.config.trials
        return not full and all(r.process.placed for r in self._running.values())  # type: ignore[attr-defined]

    def recover(self, jobs: Sequence[Job]) -> list[Event]:
        out: list[Event] = []
        for job in jobs:
            try:
                actor = self.ray.get_actor(self._name(job), namespace=NAMESPACE)
            except ValueError:
                waits = end_everywhere(self.ray, self.files.run(job).resolve(), self.context.grace_s)
                self.ray.wait(waits, num_returns=len(waits), timeout=self.context.grace_s + MARGIN_S)
                remove_group(self.ray, self._name(job))
                out += self._recover(job)
            else:
                self._running[job.number] = Running(job, self._job(job, actor))
        return out

    def close(self) -> None:
        """Actors that run are left to the controller that comes next."""
        self._running.clear()

    # ---- inside

    def _begin(self, job: Job, words: list[str]) -> Process:
        from ray.util.placement_group import placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        name = self._name(job)
        remove_group(self.ray, name)
        group = placement_group([self.needed], strategy="STRICT_PACK", name=name, lifetime="detached")
        options = {"name": name, "namespace": NAMESPACE, "lifetime": "detached", "num_cpus": self.needed.get("CPU", 0),
                   "num_gpus": self.needed.get("GPU", 0), "max_restarts": 0,
                   "scheduling_strategy": PlacementGroupSchedulingStrategy(group)}  # fmt: skip
        recipe, run, *rest = (str(Path(word).resolve()) if n in (0, 2) else word for n, word in enumerate(words))
        words = ["train", recipe, run, *rest]
        threads = {"DRIVETRAIN_THREADS": str(max(1, int(self.config.cpus)))} if self.config.cpus else {}
        actor = self.ray.remote(Owner).options(**options).remote(
            words, self.context.ranks, str(self.files.run(job).resolve()), str(self.files.log(job).resolve()),
            threads | exported(Path(recipe).read_text()), os.getcwd(),
        )  # fmt: skip
        return self._job(job, actor)

    def _job(self, job: Job, actor: Any) -> RayJob:
        run, log = self.files.run(job).resolve(), self.files.log(job).resolve()
        return RayJob(self.ray, self._name(job), actor, run, log, self.context.grace_s)

    def _gone(self, job: Job, process: Process) -> None:
        process.release()  # type: ignore[attr-defined]

    def _name(self, job: Job) -> str:
        return f"{study_name(self.context.folder)}.{job.number:05d}"


def connect(address: str | None) -> Any:
    """Ray, as a client of a cluster. Raises UserError where there is none."""
    try:
        import ray
    except ImportError:
        raise UserError("executor ray: Ray is not installed", remedy="pip install 'drivetrain[ray]'") from None
    where = address or os.environ.get("RAY_ADDRESS") or "auto"
    try:
        ray.init(address=where, namespace=NAMESPACE, log_to_driver=False, ignore_reinit_error=True)
    except (ConnectionError, ValueError) as error:
        raise UserError(f"no Ray cluster at {where}: {error}",
                        remedy="ray start --head on one host, ray start --address=... on others") from error  # fmt: skip
    return ray


def end_everywhere(ray: Any, run: Path, grace_s: float) -> list[Any]:
    """Tasks on each node that is alive, done once no process of a run is left there: ranks whose owner is gone leave."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ask = ray.remote(OwnedJob.await_end)
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    places = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes]
    return [ask.options(num_cpus=0, scheduling_strategy=place, max_retries=0).remote(run, grace_s) for place in places]


def remove_group(ray: Any, name: str) -> None:
    """A reservation by its name, if it is there."""
    from ray.util.placement_group import get_placement_group, remove_placement_group

    with contextlib.suppress(ValueError):
        remove_placement_group(get_placement_group(name))
