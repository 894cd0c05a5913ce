"""The W&B tracker. Nothing that W&B does may stop, slow or fail a run.

All calls after the start go through one daemon thread with a bounded queue, since ``log`` can block and ``finish`` can
hang where the service or the network does. What cannot be recorded is told once, and the run goes on: its own
``metrics.jsonl`` holds every figure.

The axis of all curves is a metric of our own, ``step``: W&B's restarts at 0 when an offline run is resumed, and it drops
what is logged below its last value.
"""

from __future__ import annotations

import contextlib
import netrc
import os
import queue
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from drivetrain import Panel, TrackerContext

from .pictures import as_wandb_image

if TYPE_CHECKING:
    import wandb

    from .config import WandbConfig

_QUEUE = 1000  # records in waiting; beyond it the newest are dropped


def build(config: WandbConfig, context: TrackerContext) -> WandbTracker:
    return WandbTracker(start(config, context), context.classes, config.panels, config.finish_timeout)


def start(config: WandbConfig, context: TrackerContext) -> wandb.Run:
    """A new or resumed W&B run, offline where the server cannot be reached.

    An offline run takes the old id and no ``resume``, which W&B does not know offline: `wandb sync` joins the pieces.
    """
    import wandb

    os.environ.pop("WANDB_SERVICE", None)  # inherited, it names the service of a process that may be gone
    mode: Any = config.mode if config.mode != "auto" else _auto_mode()
    settings = wandb.Settings(
        silent=True, console="off", disable_git=True, disable_code=True, save_code=False, reinit="create_new",
        init_timeout=config.init_timeout,
        finish_timeout=0.8 * config.finish_timeout,  # W&B's own limit first: it leaves a run that can be synced
    )  # fmt: skip
    arguments: dict[str, Any] = {
        "project": config.project, "entity": config.entity, "name": config.name or context.name,
        "group": config.group or context.group, "tags": [*context.tags, *config.tags], "job_type": context.job_type,
        "notes": "\n".join(f"{key}: {value}" for key, value in context.about.items()) or None,
        "config": dict(context.recipe), "dir": str(context.run_dir), "id": context.resume_id, "settings": settings,
    }  # fmt: skip
    if mode == "online":
        try:
            return wandb.init(mode="online", resume="allow", **arguments)
        except wandb.Error as error:
            warnings.warn(f"W&B cannot be reached, the run is recorded offline (`wandb sync` sends it): {error}")
            wandb.teardown()  # its service still holds the id
            mode = "offline"
    return wandb.init(mode=mode, **arguments)


def _auto_mode() -> str:
    return os.environ.get("WANDB_MODE") or ("online" if _has_credentials() else "offline")


def _has_credentials() -> bool:
    """Whether W&B would find an API key or an identity token without asking a person."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).netloc
    files = [os.environ["NETRC"]] if "NETRC" in os.environ else ["~/.netrc", "~/_netrc"]
    for path in (Path(name).expanduser() for name in files):
        try:
            return netrc.netrc(path).authenticators(host) is not None
        except (OSError, netrc.NetrcParseError):
            continue
    return False


class WandbTracker:
    """A tracker of one open W&B ``run``. ``classes``: task -> class names; ``panels``: pictures shown an evaluation."""

    def __init__(self, run: wandb.Run, classes: Mapping[str, Sequence[str]], panels: int, finish_timeout: float):
        self._run, self._classes, self._panels, self._finish_timeout = run, classes, panels, finish_timeout
        self._defined: set[str] = set()
        self._told: set[str] | None = set()
        self._closed = False
        self._waiting: queue.Queue[Callable[[], None]] = queue.Queue(_QUEUE)
        self._worker = threading.Thread(target=self._work, name="wandb-tracker", daemon=True)
        self._worker.start()

    @property
    def run_id(self) -> str | None:
        return self._run.id

    def log(self, step: int, values: Mapping[str, float]) -> None:
        copy = dict(values)
        self._submit(lambda: self._log(step, copy))

    def panels(self, step: int, panels: Sequence[Panel]) -> None:
        """Record the first ``panels`` pictures under one key; truth and prediction can be toggled by class."""
        shown = list(panels)[: self._panels]
        if shown:
            self._submit(lambda: self._log_panels(step, shown))

    def summary(self, values: Mapping[str, Any]) -> None:
        copy = dict(values)
        self._submit(lambda: self._run.summary.update(copy))

    def finish(self, error: BaseException | None) -> None:
        """Record what is waiting and end the run, as failed if there is an ``error``, in at most ``finish_timeout``."""
        deadline = time.monotonic() + self._finish_timeout
        with contextlib.suppress(queue.Full):
            self._waiting.put(lambda: self._finish(error), timeout=self._finish_timeout)
        self._worker.join(max(0.0, deadline - time.monotonic()))
        if self._worker.is_alive():
            self._tell("timeout", f"W&B did not finish in {self._finish_timeout:g} s: the last records may be missing "
                                  f"from it, `wandb sync {self._run.settings.sync_dir}` sends what is on disk")  # fmt: skip
            self._told = None  # what comes now is the service's end
            self._closed = True
            _end_service()

    def _log(self, step: int, values: Mapping[str, float]) -> None:
        # One by one: a pattern such as "val/*" would also match pictures and fill the summary with their sizes.
        for name in values.keys() - self._defined:
            self._run.define_metric(name, step_metric="step")
            self._defined.add(name)
        self._run.log({**values, "step": step})

    def _log_panels(self, step: int, panels: list[Panel]) -> None:
        images = [as_wandb_image(panel, self._classes) for panel in panels]
        self._run.log({"panels/validation": images, "step": step})

    def _finish(self, error: BaseException | None) -> None:
        self._closed = True
        try:
            if error is not None:
                self._run.alert(title=type(error).__name__, text=str(error) or repr(error), level="ERROR")
        finally:
            self._run.finish(exit_code=0 if error is None else 1)

    def _submit(self, action: Callable[[], None]) -> None:
        try:
            self._waiting.put_nowait(action)
        except queue.Full:
            self._tell("full", f"W&B does not keep up, {_QUEUE} records are waiting: newer ones are dropped")

    def _work(self) -> None:
        while not self._closed:
            try:
                self._waiting.get()()
            except Exception as error:
                self._tell(type(error).__name__, f"W&B did not record something, the run goes on: {error!r}")

    def _tell(self, kind: str, message: str) -> None:
        if self._told is not None and kind not in self._told:
            self._told.add(kind)
            warnings.warn(message)


def _end_service() -> None:
    """Kill W&B's service process: its exit hook waits without limit, so a hung service would keep ours alive."""
    import wandb

    try:
        service = wandb.setup()._connection._proc  # type: ignore[union-attr]  # there is no public way
        if service is not None:  # None: another process started it and waits for it
            service._process.kill()
    except AttributeError:
        warnings.warn("W&B's service could not be ended: leaving this process may take long")
        return
    with contextlib.suppress(Exception, SystemExit):  # forgets the service and its exit hook
        wandb.teardown()
