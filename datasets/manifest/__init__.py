"""A manifest: how a team brings its own recordings, without writing Python.

A JSON-lines or Parquet file holds one frame a line; docs/datasets.md, "Your own", has every field. ROOT is the file itself,
or a folder with ``SPLIT.jsonl`` or ``manifest.jsonl`` (or ``.parquet``). Paths are relative to the file's folder. Classes are
declared in a first line, or in ``classes.json`` beside the file (for Parquet also in the schema's metadata, under ``classes``).

Absent is not empty: without ``boxes`` nobody looked, ``"boxes": []`` says that somebody looked and found none. ``null`` is
absent. Where lines state a ``split``, only those of the split that is asked for are read; then every line must state one,
unless the file is named for its split.
"""

from drivetrain import DatasetPlugin, hookimpl


@hookimpl
def drivetrain_datasets():
    return [
        DatasetPlugin(
            name="manifest", about="Your own recordings, listed in a JSON-lines or Parquet file",
            factory="drivetrain.datasets.manifest.dataset:build",
        )
    ]  # fmt: skip
