"""``drivetrain recipe``: recipes listed, shown, checked, compared and begun."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from ..config import PluginConfig
from ..files import new_file, write_text
from ..manager import get_manager

app = typer.Typer(help="Recipes: list, show, check, compare and begin them.", no_args_is_help=True)

_RECIPE = typer.Argument(..., help="A file, or the name of a shipped recipe; A,B: B over A.", metavar="RECIPE")
_OVERRIDES = typer.Argument(None, help="Values to override, such as train.steps=100.", metavar="[KEY=VALUE]...")


@app.callback()
def _group() -> None:
    """Recipes: list, show, check, compare and begin them."""


@app.command()
def show(
    recipe: str = _RECIPE,
    overrides: list[str] = _OVERRIDES,
    as_json: bool = typer.Option(False, "--json", help="For programs: the resolved recipe without comments."),
) -> None:
    """Print the resolved whole, every default written out, with where each value came from."""
    from ..recipe import load_recipe
    from ..recipe_sources import dotted, write_yaml

    loaded = load_recipe(recipe, overrides or ())
    if as_json:
        typer.echo(json.dumps(loaded.resolved(), indent=1))
        return
    for note in loaded.notes:
        typer.echo(typer.style(f"# {note}", dim=True))
    typer.echo(write_yaml(loaded.resolved(), lambda key: _origin(loaded.origins.get(dotted(key)))), nl=False)


def _origin(origin: str | None) -> str:
    return typer.style(f"  # {origin}", dim=True) if origin else ""


@app.command()
def check(recipe: str = _RECIPE, overrides: list[str] = _OVERRIDES) -> None:
    """Say whether a recipe is right, and what it does. The shard sets need not be there."""
    from ..data import absent_data
    from ..recipe import load_recipe

    loaded = load_recipe(recipe, overrides or ())
    for note in loaded.notes:
        typer.echo(f"note: {note}", err=True)
    for where, root in absent_data(loaded):
        typer.echo(f"warning: {where}: no folder {root} here yet", err=True)
    for section, chosen in loaded.plugins.items():
        for key, why in (chosen.config.advice(loaded) if isinstance(chosen.config, PluginConfig) else {}).items():
            typer.echo(f"warning: {loaded.where(f'{section}.{key}')}: {why}", err=True)
    searched = ""
    if loaded.sections.search is not None:
        from ..search.asking import read_search

        searched = f"; a search over {', '.join(p.name for p in read_search(loaded).space.parameters)}"
    tasks = " and ".join(f"{task} ({len(names)} classes)" for task, names in loaded.classes.items())
    batch = loaded.batch
    typer.echo(
        f"{loaded.source} is right: {loaded.plugin('model').found.declaration.name} for {tasks} on "
        f"{', '.join(loaded.data.train)}; batches of {batch.global_} in {batch.slots} slots of {batch.micro}; "
        f"{loaded.train.steps} steps; {loaded.precision}, {loaded.plugin('parallelism').found.declaration.name}{searched}"
    )


@app.command()
def schema() -> None:
    """Print the JSON Schema of recipes with the plugins at hand, for editors."""
    from ..recipe_json_schema import json_schema

    typer.echo(json.dumps(json_schema(get_manager()), indent=1))


@app.command()
def diff(
    a: str = typer.Argument(..., help="A recipe."), b: str = typer.Argument(..., help="Another.")
) -> None:  # fmt: skip
    """Print what differs between two recipes, resolved: key, value in A, value in B."""
    from ..recipe import compare, load_recipe

    changes = compare(load_recipe(a).resolved(), load_recipe(b).resolved())
    rows = [("key", a, b), *((key, _value(old), _value(new)) for key, old, new in changes)]
    if not changes:
        typer.echo("no difference")
        return
    widths = [min(40, max(len(row[i]) for row in rows)) for i in (0, 1)]
    for key, old, new in rows:
        typer.echo(f"{key.ljust(widths[0])}  {old.ljust(widths[1])}  {new}")


@app.command("list")
def list_recipes(markdown: bool = typer.Option(False, "--markdown", help="With what each aims at.")) -> None:
    """Name the recipes that ship, which every command takes in place of a file, and the parts to lay over them."""
    from ..recipe_list import rows, table
    from ..recipe_sources import shipped_parts

    shown = list(rows())
    if markdown:
        typer.echo(table(shown), nl=False)
        return
    width = max(len(row.name) for row in shown)
    for row in shown:
        typer.echo(f"{row.name.ljust(width)}  {row.what}")
    typer.echo(f"parts, for NAME,PART and extends: {', '.join(shipped_parts())}")


def _value(value: object) -> str:
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value)


@app.command()
def new(
    data: str = typer.Option(..., "--data", help="A shard set, or a folder with train and val."),
    task: str = typer.Option(..., "--task", help="What to train for."),
    model: str = typer.Option(None, "--model", help="The model plugin; else the lightest that can do the task."),
    out: Path = typer.Option(None, "--out", help="The file to write; else it is printed."),
) -> None:
    """Write a recipe for a shard set, ready to train."""
    from ..recipe_new import write_recipe

    text = write_recipe(data, task, model, get_manager())
    if out is None:
        typer.echo(text, nl=False)
        return
    write_text(new_file(out), text)
    typer.echo(f"wrote {out}; next: drivetrain train {out}")
