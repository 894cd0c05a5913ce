"""A small segmentation network, as a third party would ship it."""

from drivetrain import ModelPlugin, hookimpl


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
