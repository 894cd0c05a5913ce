"""A small segmentation network and an optimizer, as a third party would ship them."""

from drivetrain import ModelPlugin, OptimizerPlugin, hookimpl


@hookimpl
def drivetrain_models():
    return [
        ModelPlugin(
            name="crosswalk",
            about="Four convolutions at a quarter of the resolution",
            tasks={"semantic_segmentation"},
            config="acme_crosswalk.config:CrosswalkConfig",
            factory="acme_crosswalk.model:build",
            api_version=1,
        )
    ]


@hookimpl
def drivetrain_optimizers():
    return [
        OptimizerPlugin(
            name="signs",
            about="The sign of the momentum, softened",
            config="acme_crosswalk.config:SignsConfig",
            factory="acme_crosswalk.optimizer:build",
        )
    ]
