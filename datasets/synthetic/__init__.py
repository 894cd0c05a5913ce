"""A procedural driving world: labelled road scenes that need no download."""

from drivetrain import CommandPlugin, DatasetPlugin, hookimpl


@hookimpl
def drivetrain_datasets():
    return [
        DatasetPlugin(
            name="synthetic",
            about="Procedural driving world: front camera, masks, 2D boxes, weather, time of day",
            config="drivetrain.datasets.synthetic.config:SyntheticConfig",
            factory="drivetrain.datasets.synthetic.dataset:build",
            taxonomies="drivetrain.datasets.synthetic.taxonomies:TAXONOMIES",
        )
    ]


@hookimpl
def drivetrain_commands():
    return [
        CommandPlugin(
            name="data synth",
            about="Write train and val shard sets of the synthetic world",
            factory="drivetrain.datasets.synthetic.command:synth",
        )
    ]
