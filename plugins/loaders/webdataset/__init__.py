"""Shard sets of WebDataset tars with an offset table, streamed in an order that is a pure function of the position."""

from drivetrain import LoaderPlugin, hookimpl


@hookimpl
def drivetrain_loaders():
    return [
        LoaderPlugin(
            name="webdataset",
            about="WebDataset tars, read at any position in constant time, the same order at any world size",
            config="drivetrain.plugins.loaders.webdataset.config:WebDatasetConfig",
            factory="drivetrain.plugins.loaders.webdataset.loader:build",
            default=True,
        )
    ]
