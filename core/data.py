"""What the ``data`` commands do: writing shard sets, and looking at them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .contracts import Dataset, Loader, ShardSet
from .errors import DataError, RecipeError, UserError
from .manager import Found, get_manager
from .progress import Progress

if TYPE_CHECKING:
    from .recipe import Recipe


def absent_data(recipe: Recipe) -> Iterator[tuple[str | None, str]]:
    """(where it was written, which folder) of each shard set of ``recipe`` that is none of this host's folders."""
    for split in ("train", "val"):
        for source in recipe.data_spec_sources(split):
            for root in [source.shards] if isinstance(source.shards, str) else source.shards:
                if "://" not in root and not _folder(root).is_dir():
                    yield source.where, root


def _folder(root: str) -> Path:
    """The folder that a root is, or that the tars lie below which it names in braces."""
    literal, brace, _ = root.partition("{")
    return Path(literal + "_").parent if brace or root.endswith(".tar") else Path(root)


def default_loader() -> Loader:
    """The loader that reads and writes shard sets where no recipe names one."""
    found = get_manager().default("loader")
    config = found.load_config()
    return found.load_factory()(config() if config else None)


def open_dataset(name: str, options: Mapping[str, Any]) -> tuple[Found, Dataset]:
    """A dataset plugin with its options. Raises RecipeError for an option that it does not have."""
    found = get_manager().resolve("dataset", name)
    return found, build_with(found, options)


def build_with(found: Found, options: Mapping[str, Any]) -> Any:
    """What a plugin's factory makes of ``options``. Raises RecipeError for one that it does not have."""
    from pydantic import ValidationError

    config, what = found.load_config(), f"{found.declaration.kind.replace('_', ' ')} {found.declaration.name!r}"
    if config is None and options:
        raise RecipeError(f"{what} has no options, got {', '.join(options)}")
    try:
        return found.load_factory()(config(**options) if config else None)
    except ValidationError as error:
        first = error.errors()[0]
        known = ", ".join(config.model_fields)
        place = ".".join(str(part) for part in first["loc"])
        raise RecipeError(f"{what}: option {place}: {first['msg']}", remedy=f"options: {known}") from error


def convert(name: str, dataset: Dataset, source: Path, out: Path, split: str, workers: int, samples_per_shard: int) -> ShardSet:
    """A dataset's split as a shard set at ``out``, with progress."""
    shards = convert_part(name, dataset, source, out, split, workers, samples_per_shard)
    assert shards is not None, "without parts nobody else is at work"
    return shards


def convert_part(name: str, dataset: Dataset, source: Path, out: Path, split: str, workers: int, samples_per_shard: int,
                 **how: Any) -> ShardSet | None:  # fmt: skip
    """The same with more options of `Loader.convert`; None while other parts are at work."""
    with Progress(f"{name} {split}", None, "frame") as progress:

        def advance(done: int, total: int, kept: int, written: int) -> None:
            progress.total = total
            progress.advance(done, f"{written / 1e6 / progress.seconds:.1f} MB/s", kept)

        return default_loader().convert(dataset, source, out, split, dataset_name=name, workers=workers,
                                        samples_per_shard=samples_per_shard, progress=advance, **how)  # fmt: skip


def parse_part(text: str) -> tuple[int, int]:
    """``I/N``, I from 1 to N."""
    place, slash, parts = text.partition("/")
    if not (slash and place.isdigit() and parts.isdigit() and 1 <= int(place) <= int(parts)):
        raise UserError(f"--part {text}: expected I/N with I from 1 to N",
                        remedy="in a Slurm array 1-8: --part $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT")  # fmt: skip
    return int(place), int(parts)


def parse_reencode(text: str | None) -> str | None:
    """``png`` or ``jpg:QUALITY``, quality from 1 to 100."""
    kind, _, quality = (text or "png").partition(":")
    if text not in (None, "png") and not (kind == "jpg" and quality.isdigit() and 1 <= int(quality) <= 100):
        raise UserError(f"--reencode {text}: expected png, or jpg:QUALITY with a quality from 1 to 100")
    return text


def parse_split_by_scene(text: str | None, split: str) -> str | None:
    """``TRAIN:VAL[:TEST]``, shares above 0 such as 80:20; ``split`` must be one of the sides."""
    if text is None:
        return None
    shares, sides = text.split(":"), ("train", "val", "test")
    if not (2 <= len(shares) <= 3 and all(re.fullmatch(r"\d*\.?\d+", share) and float(share) > 0 for share in shares)):
        raise UserError(f"--split-by-scene {text}: expected TRAIN:VAL or TRAIN:VAL:TEST, such as 80:20")
    if split not in sides[: len(shares)]:
        raise UserError(f"--split {split}: --split-by-scene {text} has the sides {', '.join(sides[: len(shares)])}",
                        remedy="name one of them; --of names the dataset's own split that is divided")  # fmt: skip
    return text


def parse_resize(text: str | None) -> str | None:
    """``WIDTHxHEIGHT`` in pixels."""
    width, _, height = (text or "1x1").partition("x")
    if not (width.isdigit() and height.isdigit() and 0 < int(width) <= 65535 and 0 < int(height) <= 65535):
        raise UserError(f"--resize {text}: expected WIDTHxHEIGHT in pixels, such as 1280x720")
    return text


def find_shard_sets(folder: Path) -> list[Path]:
    """The folders at or below ``folder`` that hold a ``dataset.json``. Raises DataError where there is no such folder."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder", remedy="make a first set with: drivetrain data synth ./shards/demo")
    return sorted(path.parent for path in folder.glob("**/dataset.json"))


def parse_options(words: list[str]) -> dict[str, Any]:
    """``key=value`` words; a value is read as YAML."""
    from .recipe_sources import parse_value

    options = {}
    for word in words:
        key, found, value = word.partition("=")
        if not found:
            raise UserError(f"{word!r}: expected KEY=VALUE")
        options[key] = parse_value(value)
    return options
