"""The command line's door: ``drivetrain`` and ``python -m drivetrain``."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from pathlib import Path


def _leave_source_root() -> None:
    """Take drivetrain's own source root off the path: its ``datasets`` and ``plugins`` would shadow other packages."""
    root = Path(__file__).resolve().parent.parent
    if (root / "pyproject.toml").is_file() and (root / "core" / "__main__.py").is_file():
        sys.path[:] = [p for p in sys.path if Path(p or os.getcwd()).resolve() != root]
        paths = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and Path(p).resolve() != root]
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)


def main(arguments: list[str] | None = None) -> int:
    """Run a command line; returns the exit code. A user's mistake is a message and 2, never a traceback."""
    _leave_source_root()
    atexit.register(gc.freeze)  # else the interpreter looks through all of torch again and again as it ends: a second
    from . import watch
    from .errors import UserError, full_disk, no_place, out_of_memory
    from .owner import follow_owner

    follow_owner()
    try:
        from .cli import run

        return watch.note_exit(run(arguments))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        if watch.shared is not None:
            watch.leave_at_once(130)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        mistake = error if isinstance(error, UserError) else full_disk(error) or no_place(error) or out_of_memory(error)
        if watch.shared is not None:
            watch.shared.fail(mistake or error)
        if mistake is None:
            raise
        print(f"error: {mistake}", file=sys.stderr)
        return watch.note_exit(mistake.code)


if __name__ == "__main__":
    sys.exit(main())
