"""Transforms: resize, random scale and crop, flip and colour, joint over pictures and labels."""

from drivetrain import TransformPlugin, hookimpl


@hookimpl
def drivetrain_transforms():
    return [
        TransformPlugin(name="resize", about="Stretch to one size, or fit inside it; also in evaluation",
                        config="drivetrain.plugins.transforms.config:ResizeConfig",
                        factory="drivetrain.plugins.transforms.geometry:Resize"),
        TransformPlugin(name="random_scale_crop", about="Scale at random, then crop or pad to one size",
                        config="drivetrain.plugins.transforms.config:RandomScaleCropConfig",
                        factory="drivetrain.plugins.transforms.geometry:RandomScaleCrop"),
        TransformPlugin(name="flip", about="Mirror left and right at random",
                        config="drivetrain.plugins.transforms.config:FlipConfig",
                        factory="drivetrain.plugins.transforms.geometry:Flip"),
        TransformPlugin(name="colour", about="Random brightness, contrast, saturation and hue",
                        config="drivetrain.plugins.transforms.config:ColourConfig",
                        factory="drivetrain.plugins.transforms.colour:Colour"),
    ]  # fmt: skip
