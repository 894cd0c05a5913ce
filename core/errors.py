"""What the user is told when something is wrong: the place, what was expected, and what to do about it."""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterable

CRASH, USER_ERROR, GATE_FAILED, DIVERGED, OUT_OF_MEMORY, DISK_FULL, REQUEUE = 1, 2, 3, 4, 5, 6, 75
"""Exit codes; CRASH: another try may go better; REQUEUE: told to leave before the end, all is saved, start me again."""


class DrivetrainError(Exception):
    """Base of every error that drivetrain raises on purpose."""


class UserError(DrivetrainError):
    """A mistake that the user can mend: printed without a traceback, exit code 2.

    Parameters
    ----------
    message: what is wrong, in one sentence.
    where: the place, such as ``recipes/a.yaml:14: model.plugin``.
    near: names that the user may have meant.
    remedy: what to do about it.
    """

    told = False
    """Rank 0 prints this one, the other ranks need not."""
    code = USER_ERROR
    """The exit code that it ends with."""

    def __init__(self, message: str, *, where: str | None = None, near: Iterable[str] = (), remedy: str | None = None):
        self.message, self.where, self.near, self.remedy = message, where, tuple(near), remedy
        super().__init__(self.text())

    def text(self) -> str:
        lines = [f"{self.where}: {self.message}" if self.where else self.message]
        if self.near:
            lines.append("  did you mean " + " or ".join(repr(name) for name in self.near) + "?")
        if self.remedy:
            lines += ["  " + line for line in self.remedy.splitlines()]
        return "\n".join(lines)

    def __reduce__(self):  # the error travels from rank 0 to the other ranks
        return _rebuild, (type(self), self.message, self.where, self.near, self.remedy)


def _rebuild(kind, message, where, near, remedy):
    return kind(message, where=where, near=near, remedy=remedy)


class RecipeError(UserError):
    """A recipe says something that cannot be done."""


class PluginError(UserError):
    """A plugin is missing, ambiguous, blocked or broken."""


class DataError(UserError):
    """Data on disk is missing, damaged or not what it says it is."""


class CheckpointError(UserError):
    """A checkpoint is missing, damaged or of another model."""


class DivergedError(UserError):
    """Training got nowhere: its gradient was not finite for too long."""

    code = DIVERGED


class MemoryFullError(UserError):
    """The device or the host has too little memory for what was asked."""

    code = OUT_OF_MEMORY


class DiskFullError(UserError):
    """No space is left where something was to be written."""

    code = DISK_FULL


class OutageError(UserError):
    """What a run stands on does not answer, by no mistake of its user: another try may find it mended."""

    code = CRASH


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def full_disk(error: BaseException) -> UserError | None:
    """What to tell the user where ``error`` came of a full disk or a used up quota; None where it did not."""
    cause = error.__cause__ or error.__context__
    if any(os.strerror(number) in str(error) for number in _FULL):  # safetensors' have no errno
        return DiskFullError(f"no space is left: {error}", remedy="make room and start again: the newest checkpoint stands")
    return full_disk(cause) if cause is not None else None


_NO_PLACE = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG)


def no_place(error: BaseException) -> UserError | None:
    """What to tell the user where a file can be neither written nor read at its place; None where ``error`` is another."""
    if not isinstance(error, OSError) or error.errno not in _NO_PLACE or error.filename is None:
        return None
    why = "it is there and no folder" if error.errno == errno.EEXIST else error.strerror
    return UserError(f"{error.filename}: {why}", remedy="name another place, or see to the rights there")


_NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")


def out_of_memory(error: BaseException) -> UserError | None:
    """What to tell the user where ``error`` came of memory that is used up, of a device or the host; None where it did not."""
    if not isinstance(error, MemoryError) and not any(words in str(error).lower() for words in _NO_MEMORY):
        return None
    said = (str(error).splitlines() or ["no more is to be had"])[0]
    return MemoryFullError(f"out of memory: {said}", remedy="lower batch.micro (batch.global may stay), raise "
                           "parallelism.zero_stage, or set train.activation_checkpointing")  # fmt: skip


def near_matches(name: str, names: Iterable[str]) -> list[str]:
    """Up to three of ``names`` that look like ``name`` or begin with it, best first."""
    known = [str(n) for n in names]
    close = difflib.get_close_matches(str(name), known, n=3, cutoff=0.55)
    begun = [n for n in known if len(str(name)) >= 3 and n.startswith(str(name))]
    return list(dict.fromkeys([*close, *begun]))[:3]
