"""``drivetrain weights``: bringing weights in."""

from __future__ import annotations

from pathlib import Path

import typer

app = typer.Typer(help="Weights from elsewhere.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Weights from elsewhere."""


@app.command("import")
def import_file(
    file: Path = typer.Argument(..., help="A .pth or .safetensors file; nothing in it is executed."),
    name: str = typer.Option(None, "--name", help="What model.init_from will call it; the file's own name by default."),
) -> None:
    """Bring a file of weights into $DRIVETRAIN_WEIGHTS, as safetensors."""
    from ..errors import CheckpointError
    from ..weights import import_weights

    if not file.is_file():
        raise CheckpointError(f"{file}: no such file")
    target = import_weights(file, name)
    print(f"{target}\nuse it with: model.init_from.path={target.stem}")


@app.command("list")
def list_weights() -> None:
    """The weights that are there."""
    from ..weights import weights_folder

    for path in sorted(weights_folder().glob("*.safetensors")):
        print(f"{path.stem}  {path.stat().st_size / 2**20:.1f} MiB")
