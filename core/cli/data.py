"""``drivetrain data``: shard sets made, checked and looked at."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import typer

from ..errors import DataError, UserError
from ..files import read_lines
from .curate import curate
from .exchange import export, import_
from .taxonomies import taxonomies

app = typer.Typer(help="Shard sets: make, check and look at them.", no_args_is_help=True)


app.command("curate")(curate)
app.command("export")(export)
app.command("import")(import_)
app.command("taxonomies")(taxonomies)


@app.callback()
def _group() -> None:
    """Shard sets: make, check and look at them."""


@app.command("list")
def list_sets(folder: Path = typer.Argument(None, help="Where to look; $DRIVETRAIN_DATA or ./shards by default.")) -> None:
    """The shard sets below a folder."""
    from ..data import find_shard_sets

    root = folder or Path(os.environ.get("DRIVETRAIN_DATA", "shards"))
    found = find_shard_sets(root)
    for path in found:
        info = json.loads((path / "dataset.json").read_text())
        tasks = ", ".join(f"{task} ({len(classes)} classes)" for task, classes in info["classes"].items())
        print(f"{path}  {info['dataset']} {info['split']}: {info['samples']} frames, {tasks}")
    if not found:
        print(f"no shard sets below {root}")


@app.command()
def shard(
    dataset: str = typer.Argument(..., help="A dataset plugin: drivetrain plugins list dataset."),
    source: Path = typer.Argument(..., help="The dataset's folder, in its official layout."),
    out: Path = typer.Argument(..., help="Where the shard set is written."),
    split: str = typer.Option(..., "--split", help="The split of the dataset."),
    workers: int = typer.Option(None, "--workers", min=1, help="Processes; one a core by default."),
    samples_per_shard: int = typer.Option(256, "--samples-per-shard", min=1, help="Frames a shard."),
    part: str = typer.Option("1/1", "--part", metavar="I/N", help="One of N processes, on any hosts, that share the work."),
    reencode: str = typer.Option(None, "--reencode", metavar="jpg:Q|png", help="Pictures encoded anew."),
    resize: str = typer.Option(None, "--resize", metavar="WxH", help="Pictures resized, in pixels; labels follow."),
    append: bool = typer.Option(False, "--append", help="New frames become new shards of a whole set."),
    split_by_scene: str = typer.Option(
        None,
        "--split-by-scene",
        metavar="TRAIN:VAL[:TEST]",
        help="Divide the scenes by these shares; --split is the side that is written.",
    ),
    of: str = typer.Option(None, "--of", help="The dataset's own split that is divided; --split's name by default."),
    option: list[str] = typer.Option([], "--option", metavar="KEY=VALUE", help="An option of the dataset plugin."),
) -> None:
    """Write a split as a shard set. A conversion that was interrupted is finished, not begun anew."""
    from ..data import convert_part, open_dataset, parse_options, parse_part, parse_reencode, parse_resize, parse_split_by_scene

    how: dict[str, Any] = {"part": parse_part(part), "reencode": parse_reencode(reencode), "resize": parse_resize(resize)}
    how |= {"append": append, "split_by_scene": parse_split_by_scene(split_by_scene, split), "of": of}
    if of is not None and split_by_scene is None:
        raise UserError("--of goes with --split-by-scene")
    found, opened = open_dataset(dataset, parse_options(option))
    cores = len(os.sched_getaffinity(0))
    shards = convert_part(found.declaration.name, opened, source, out, split, workers or cores, samples_per_shard, **how)
    done = f"{out}: part {part} is whole; the set will be when the other parts are"
    print(done if shards is None else f"{shards.path}: {len(shards)} frames")


@app.command()
def verify(
    shards: str = typer.Argument(..., help="A shard set."),
    full: bool = typer.Option(False, "--full", help="Every checksum and every decode, not only the index."),
    workers: int = typer.Option(None, "--workers", min=1, help="Processes; with --full one a core by default."),
) -> None:
    """Is a shard set whole? Exit code 2 if not, with what is wrong."""
    from ..data import default_loader
    from ..progress import Progress

    opened = default_loader().open(shards)
    with Progress("verifying", len(opened), "frame") as progress:
        processes = workers or (len(os.sched_getaffinity(0)) if full else 1)
        wrong = opened.verify(full, lambda done, _: progress.advance(done), processes)
    if wrong:
        raise DataError(f"{len(wrong)} things are wrong:\n  " + "\n  ".join(wrong), where=str(shards))
    print(f"{shards}: {len(opened)} frames, all {'checksums and decodes' if full else 'files and tables'} right")


@app.command()
def withdraw(
    shards: str = typer.Argument(..., help="A shard set."),
    keys: list[str] = typer.Argument(None, metavar="[KEY]...", help="Frames that may no longer be used."),
    file: Path = typer.Option(None, "--file", help="A file with a key a line."),
) -> None:
    """Withdraw frames, for privacy: their keys are listed beside the set."""
    from ..data import default_loader

    named = list(keys or [])
    if file is not None:
        named += read_lines(file)
    if not named:
        raise UserError("no key is named", remedy="name keys, or a --file with a key a line")
    new = default_loader().open(shards).withdraw(named)
    print(f"{shards}: {new} keys withdrawn, {len(set(named)) - new} had been before")


@app.command()
def stats(
    shards: str = typer.Argument(..., help="A shard set."),
    as_json: bool = typer.Option(False, "--json", help="For programs."),
    html: Path = typer.Option(None, "--html", help="A page with plots, in one file."),
    index_only: bool = typer.Option(False, "--index-only", help="Without what needs every frame: box and image sizes."),
    workers: int = typer.Option(None, "--workers", min=1, help="Processes; one a core by default."),
) -> None:
    """Counts by task, class, scene and tag; sizes of boxes and images."""
    from ..data import default_loader
    from ..progress import Progress

    opened = default_loader().open(shards)
    with Progress("counting", len(opened), "frame") as progress:
        processes = workers or len(os.sched_getaffinity(0))
        found = opened.statistics(not index_only, lambda done, _: progress.advance(done), processes)
    if html is not None:
        from ..stats_page import write_statistics

        write_statistics(found, html)
    print(json.dumps(found, indent=1)) if as_json else _print_statistics(shards, found)
    if html is not None and not as_json:
        print(f"\n{html}")


@app.command()
def weights(
    recipe: str = typer.Argument(..., help="A recipe.", metavar="RECIPE"),
    overrides: list[str] = typer.Argument(None, metavar="[KEY=VALUE]..."),
    task: str = typer.Option(None, "--task", help="Where the recipe has several."),
    rule: str = typer.Option("log", "--rule", help="log: 1 / log(1.1 + share); median: the median share / share."),
) -> None:
    """Class weights for a recipe's class_weights, from its training sources, as YAML. No picture is read."""
    from ..class_weights import class_weights

    found = class_weights(_recipe_of(recipe, overrides or []), task, rule)
    print(f"class_weights: {{{', '.join(f'{name}: {weight}' for name, weight in found.items())}}}")


def _print_statistics(shards: str, found: dict[str, Any]) -> None:
    sizes = {name: " ".join(f"{w}x{h}" for w, h in sizes) for name, sizes in found["cameras"].items()}
    cameras = ", ".join(f"{name} {size}" for name, size in sizes.items())
    print(f"{shards}: {found['frames']} frames, {found['scenes']} scenes, {found['shards']} shards; {cameras}")
    for task, counts in found["class_counts"].items():
        print(f"\n{task}: {found['labelled_frames'].get(task, 0)} frames labelled")
        _print_counts(counts)
    for tag, counts in found["tags"].items():
        print(f"\n{tag}")
        _print_counts(counts)
    if (boxes := found.get("boxes")) and boxes["sizes"]:
        print(f"\nboxes by size (COCO), {boxes['ignored']} to be ignored left out")
        _print_counts({size: sum(one[size] for one in boxes["sizes"].values()) for size in ("small", "medium", "large")})
    if damaged := found.get("damaged_frames"):
        print(f"\n{damaged} frames are damaged: see drivetrain data verify {shards} --full")


def _print_counts(counts: dict[str, int]) -> None:
    total, width = sum(counts.values()), max((len(name) for name in counts), default=0)
    for name, count in counts.items():
        print(f"  {name.ljust(width)}  {count:>12,}  {100 * count / max(total, 1):5.1f}%")


@app.command()
def view(
    shards: str = typer.Argument(..., help="A shard set."),
    out: Path = typer.Option(Path("view.png"), "--out", help="The picture that is written."),
    count: int = typer.Option(12, "--count", min=1, help="How many frames, spread over the set."),
    columns: int = typer.Option(3, "--columns", min=1),
    overlay: list[str] = typer.Option([], "--overlay", help="Labels that lie over the set's own; may be repeated."),
    keys: list[str] = typer.Option([], "--key", help="This frame; may be given several times."),
    shuffle: int = typer.Option(None, "--shuffle", metavar="SEED", help="Frames drawn at random instead of evenly."),
) -> None:
    """A contact sheet of frames with all their labels drawn."""
    from ..data import default_loader
    from ..looking import sheet_of_shards

    sheet_of_shards(default_loader().open(shards, overlay), count, columns, out, keys, shuffle)
    print(out)


@app.command()
def batch(
    what: str = typer.Argument(..., help="A recipe, or a run's folder.", metavar="RECIPE|RUN"),
    overrides: list[str] = typer.Argument(None, metavar="[KEY=VALUE]..."),
    step: int = typer.Option(1, "--step", min=1, help="The step, counted from 1 as in metrics.jsonl."),
    out: Path = typer.Option(Path("batch.png"), "--out", help="The picture that is written."),
) -> None:
    """Draw the inputs and targets of a step after all transforms, as the model gets them; no training state is needed."""
    from ..looking import sheet_of_step

    keys = sheet_of_step(_recipe_of(what, overrides or []), step, out, _order_of(what))
    print("\n".join([*keys, str(out)]))


@app.command()
def samples(
    what: str = typer.Argument(..., help="A recipe, or a run's folder.", metavar="RECIPE|RUN"),
    overrides: list[str] = typer.Argument(None, metavar="[KEY=VALUE]..."),
    step: int = typer.Option(1, "--step", min=1, help="The step, counted from 1 as in metrics.jsonl."),
) -> None:
    """List the keys of a step, one slot a line, with no run."""
    from ..looking import whole_stream

    stream = whole_stream(_recipe_of(what, overrides or []), _order_of(what), threads=0)
    for slot, keys in enumerate(stream.keys(step - 1)):
        print(f"{slot}: {' '.join(keys)}")
    stream.close()


def _order_of(what: str) -> dict[str, Any] | None:
    """The loader's state in a run's newest checkpoint: it knows which weights and shards held when. None without one."""
    from ..checkpoint import newest_checkpoint
    from ..run import RunFolder

    if not Path(what).is_dir():
        return None
    found = newest_checkpoint(RunFolder(Path(what)).checkpoints, lambda _: None)
    return found.state["loader"] if found else None


def _recipe_of(what: str, overrides: list[str]) -> Any:
    from ..manager import get_manager
    from ..recipe import Recipe, load_recipe
    from ..run import RunFolder

    if not Path(what).is_dir():
        return load_recipe(what, tuple(overrides), get_manager())
    if overrides:
        raise UserError("a run's recipe is what it is: overrides go with a recipe file")
    return Recipe.from_resolved(RunFolder(Path(what)).resolved_recipe(), get_manager())
