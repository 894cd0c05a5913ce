"""The command line: one module a command, each light until it runs.

Options about plugins (``-p no:NAME``, ``--plugin FILE``, ``--trace-plugins``) are read before anything else, since plugins
may add commands.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import typer

from .. import __version__
from ..errors import UserError
from ..manager import Controls, Found, PluginManager, get_manager
from . import checkpoint, data, doctor, eval, export, latency, launch, plugins, predict, recipe, score, search, train, weights

_HELP = "Train perception models for automated driving, from a laptop to a cluster."
_GROUPS = {
    "plugins": plugins.app, "recipe": recipe.app, "data": data.app, "search": search.app, "weights": weights.app,
    "checkpoint": checkpoint.app,
}  # fmt: skip
_COMMANDS: dict[str, Callable[..., Any]] = {
    "train": train.train,
    "launch": launch.launch,
    "eval": eval.evaluate,
    "predict": predict.predict,
    "export": export.export,
    "latency": latency.latency,
    "score": score.score,
    "doctor": doctor.doctor,
}


def run(arguments: list[str] | None = None) -> int:
    """Run a command line and return its exit code. Raises UserError for a user's mistake."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    controls, rest = split_controls(argv)
    app = build_app(get_manager(controls), rest)
    try:
        app(rest, prog_name="drivetrain")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def build_app(manager: PluginManager, arguments: list[str]) -> typer.Typer:
    """The commands of drivetrain and of its plugins; a plugin's own module is imported only where ``arguments`` ask for it."""
    app = typer.Typer(help=_HELP, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
    app.callback()(_options)
    for name, group in _GROUPS.items():
        app.add_typer(group, name=name)
    for name, command in _COMMANDS.items():
        app.command(name)(command)
    app.command("host-facts", hidden=True)(launch.host_facts)
    for found in manager.found("command"):
        try:
            _add_plugin_command(app, found, arguments)
        except UserError as error:
            print(f"warning: {error}", file=sys.stderr)
    return app


def _add_plugin_command(app: typer.Typer, found: Found, arguments: list[str]) -> None:
    *group, name = found.declaration.name.split()
    if len(group) > 1 or (group and group[0] not in _GROUPS):
        raise UserError(f"command {found.full_name!r}: there is no group {' '.join(group)!r}, only {', '.join(_GROUPS)}")
    if not group and name in (_COMMANDS | _GROUPS):
        raise UserError(f"command {found.full_name!r}: {name!r} is drivetrain's own")
    wanted = arguments[: len(group) + 1] == [*group, name]
    function = found.load_factory() if wanted else _placeholder
    (_GROUPS[group[0]] if group else app).command(name, help=found.declaration.about)(function)


def _placeholder() -> None:
    raise AssertionError("a command that is only listed is never run")


def _options(
    no: list[str] = typer.Option([], "-p", metavar="no:NAME", help="Leave a plugin out, by distribution or entry point."),
    plugin: list[str] = typer.Option([], "--plugin", metavar="FILE", help="Load a plugin from a Python file."),
    trace_plugins: bool = typer.Option(False, "--trace-plugins", help="Print every hook call."),
    version: bool = typer.Option(False, "--version", help="Print the version.", is_eager=True),
) -> None:
    if version:
        print(f"drivetrain {__version__}")
        raise typer.Exit()


def split_controls(argv: list[str]) -> tuple[Controls, list[str]]:
    """The options about plugins, wherever they stand, and the rest of the command line."""
    rest: list[str] = []
    values: dict[str, list[str]] = {"-p": [], "--plugin": []}
    trace = False
    words = iter(argv)
    for word in words:
        name, _, value = word.partition("=")
        if name in values:
            values[name].append(value or next(words, ""))
        elif word == "--trace-plugins":
            trace = True
        else:
            rest.append(word)
    return Controls.of(values["-p"], values["--plugin"], trace), rest
