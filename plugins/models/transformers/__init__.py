"""Models of the transformers library, built from its configurations: nothing is downloaded."""

from drivetrain import ModelPlugin, hookimpl

_HOME = "drivetrain.plugins.models.transformers"


@hookimpl
def drivetrain_models():
    return [
        ModelPlugin(name="rt_detr", about="RT-DETR, a real-time transformer detector without suppression, r18 to r101",
                    tasks={"object_detection"}, config=f"{_HOME}.config:RTDetrConfig", factory=f"{_HOME}.rt_detr:build"),
        ModelPlugin(name="segformer", about="SegFormer, a transformer for masks, sizes b0 to b5",
                    tasks={"semantic_segmentation"}, config=f"{_HOME}.config:SegformerConfig",
                    factory=f"{_HOME}.segformer:build"),
    ]  # fmt: skip
