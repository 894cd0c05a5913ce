"""Which tars a source's addresses mean, where they name no shard set of ours."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import xxhash

from drivetrain import DataError

from ..shards import DATASET_FILE, INDEX_FILE, PLAN_FILE, SHARDS_FILE, WITHDRAWN_FILE

CLASSES_FILE = "classes.json"
INDEXER = 1
"""Raised when an index would come out differently of the same tars."""
_PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tar.lz4")


@dataclass(frozen=True)
class Tar:
    """A tar below one of the roots: ``name`` is its path there, ``size`` in bytes, ``time`` of its last change in ns."""

    name: str
    path: Path
    size: int
    time: int

    @property
    def shard(self) -> str:
        """Its name as a shard: percent-encoded where it is no plain file name."""
        return quote(self.name.removesuffix(".tar"), safe="")

    @property
    def changed(self) -> bool:
        """Whether it is by now another one."""
        about = os.stat(self.path)
        return (about.st_size, about.st_mtime_ns) != (self.size, self.time)

    @property
    def id(self) -> str:
        """Of the tar as it is."""
        return _digest([INDEXER, str(self.path), self.size, self.time])


@dataclass(frozen=True)
class Tars:
    """The ``tars``, in their order, and the ``folders`` that they and what is beside them lie in."""

    folders: tuple[str, ...]
    tars: tuple[Tar, ...]

    @property
    def where(self) -> str:
        return ", ".join(self.folders)

    @property
    def id(self) -> str:
        return _digest([tar.id for tar in self.tars] + [tar.name for tar in self.tars])


def find_tars(addresses: Sequence[str]) -> Tars | None:
    """The plain tars at ``addresses``: folders, or patterns with braces. None where they name a set of ours, or no tar at
    all. Raises DataError for what is left of a set of ours, for tars that are compressed, missing, or twice and different."""
    patterns = [address for address in addresses if _is_pattern(address)]
    if any("://" in address for address in addresses):
        _refuse_remote(patterns)
        return None
    folders = [Path(address) for address in addresses if address not in patterns]
    if any((folder / name).exists() for folder in folders for name in (DATASET_FILE, PLAN_FILE)):
        _refuse_mixed(patterns, addresses)
        return None
    found = [_matching(address) if address in patterns else _inside(Path(address)) for address in addresses]
    if not any(tars for _, tars in found):
        return None
    for folder, tars in found:
        if not tars and not any((folder / name).exists() for name in (CLASSES_FILE, WITHDRAWN_FILE)):
            raise DataError(f"{folder} holds no tar and no {CLASSES_FILE}", remedy="name folders that hold one of them")
    return Tars(tuple(str(folder) for folder, _ in found), _merged(tar for _, tars in found for tar in tars))


def _is_pattern(address: str) -> bool:
    return address.endswith((".tar", *_PACKED)) or ("{" in address and not os.path.isdir(address))


def _inside(folder: Path) -> tuple[Path, list[Tar]]:
    """The tars of a folder, by name."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return folder, []
    names = [entry.name for entry in entries]
    if any(name.endswith(".tar") for name in names):
        _refuse_remains(folder, names)
    _refuse_packed(folder, names)
    return folder, [_tar(folder, entry.name, entry.stat()) for entry in entries if entry.name.endswith(".tar")]


def _matching(pattern: str) -> tuple[Path, list[Tar]]:
    """The tars that a pattern names, in its order, below the folder that all of them are in."""
    from braceexpand import braceexpand

    try:
        paths = list(braceexpand(pattern))
    except ValueError as error:
        raise DataError(f"{pattern}: its braces do not match", remedy="such as cam-{000000..000127}.tar") from error
    folder, missing, tars = Path(os.path.dirname(pattern.partition("{")[0])), [], []
    _refuse_packed(folder, paths)
    for path in paths:
        try:
            tars.append(_tar(folder, os.path.relpath(path, folder), os.stat(path)))
        except OSError:
            missing.append(path)
    if missing:
        raise DataError(f"{pattern} names {len(paths)} tars, {len(missing)} of them are not there, such as {missing[0]}",
                        remedy="name those that are there, or the folder: all of its tars are taken")  # fmt: skip
    return folder, tars


def _tar(folder: Path, name: str, about: os.stat_result) -> Tar:
    if not name.endswith(".tar"):
        raise DataError(f"{folder / name} is no tar by its name")
    return Tar(name, Path(os.path.abspath(folder / name)), about.st_size, about.st_mtime_ns)


def _merged(tars: Iterable[Tar]) -> tuple[Tar, ...]:
    """Of a name that is on several roots the first; the others are copies of it."""
    found: dict[str, Tar] = {}
    for tar in tars:
        first = found.setdefault(tar.name, tar)
        if first.size != tar.size:
            raise DataError(f"{first.path} and {tar.path} have one name, and are no copies of each other",
                            remedy="rename one, or name a folder that holds both below it, in braces")  # fmt: skip
    return tuple(found.values())


def _refuse_remains(folder: Path, names: Sequence[str]) -> None:
    """A set of ours without its first file must not be read as if its labels, classes and checksums had never been."""
    tables = [name for name in names if name.endswith(".idx") and not name.endswith(".tar.idx")]  # those are Energon's
    left = [name for name in names if name in (SHARDS_FILE, INDEX_FILE)] + tables
    if left:
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        raise DataError(f"{folder} has no {DATASET_FILE}, but {left[0]}{more} of a shard set: it is one that is not whole",
                        remedy=f"restore {DATASET_FILE} from a copy, or write the set again\n"
                        "to read its tars as plain ones, name them in braces: FOLDER/shard-{000000..000127}.tar")  # fmt: skip


def _refuse_packed(folder: Path, names: Sequence[str]) -> None:
    packed = [name for name in names if name.endswith(_PACKED)]
    if packed:
        raise DataError(f"{packed[0]} is compressed: no sample of it can be read without all before it",
                        where=str(folder), remedy="unpack them: gunzip *.tar.gz, or zstd -d --rm *.tar.zst")  # fmt: skip


def _refuse_remote(patterns: Sequence[str]) -> None:
    if patterns:
        raise DataError(f"{patterns[0]}: plain tars are indexed in folders only",
                        remedy="mount them, copy them, or write a shard set of them where they are local")  # fmt: skip


def _refuse_mixed(patterns: Sequence[str], addresses: Sequence[str]) -> None:
    if patterns:
        raise DataError(f"{', '.join(addresses)}: some name a shard set, some plain tars",
                        remedy="make them two sources")  # fmt: skip


def _digest(words: Sequence[object]) -> str:
    return xxhash.xxh3_128_hexdigest("\0".join(map(str, words)).encode())
