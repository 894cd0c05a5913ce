"""Transforms that misbehave, in a module that worker processes can import."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import cv2

from drivetrain import Transform


class Killed(Transform):
    """The process that makes position ``at`` is killed by the kernel, as when memory runs out."""

    def __init__(self, at: int):
        self.at = at

    def view(self, view, rng):
        self.at -= 1
        if self.at < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return view


class Leaves(Transform):
    """No Exception, but what ends a thread."""

    def view(self, view, rng):
        raise SystemExit("enough")


class Waits(Transform):
    """Never comes back; ``mark`` is there when it began."""

    def __init__(self, mark: Path):
        self.mark = mark

    def view(self, view, rng):
        self.mark.with_name(f"{self.mark.name}-{os.getpid()}").touch()
        time.sleep(1000)
        return view


class Blurs(Transform):
    """Is in OpenCV for a while."""

    def pixels(self, sample, rng):
        cv2.GaussianBlur(cv2.resize(sample.image, (2000, 1500)), (31, 31), 5)
        return sample


class Closure(Transform):
    """Cannot be pickled."""

    def __init__(self):
        self.function = lambda view: view


class Vary(Transform):
    """Pictures of unequal sizes, and a new array in place of the one that was decoded into."""

    def view(self, view, rng):
        return view.scaled(20 + rng.integer(0, 3) * 20, 50)

    def pixels(self, sample, rng):
        return sample.replace(image=255 - sample.image)
