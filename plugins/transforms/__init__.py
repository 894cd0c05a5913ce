"""Transforms: geometry, colour, blur and noise, weather, and mixtures of pictures, joint over pictures and labels."""

from drivetrain import TransformPlugin, hookimpl

_HOME = "drivetrain.plugins.transforms"


def _transform(name: str, about: str, target: str) -> TransformPlugin:
    """``target``: module and class, whose settings are the class's name and ``Config``."""
    return TransformPlugin(name=name, about=about, config=f"{_HOME}.config:{target.partition(':')[2]}Config",
                           factory=f"{_HOME}.{target}")  # fmt: skip


@hookimpl
def drivetrain_transforms():
    return [
        _transform("resize", "Stretch to one size, or fit inside it; also in evaluation", "geometry:Resize"),
        _transform("resize_shortest", "Scale to a length of the shorter side; also in evaluation", "geometry:ResizeShortest"),
        _transform("letterbox", "Fit into one size with black edges; also in evaluation", "geometry:Letterbox"),
        _transform("roi", "A band of rows around the horizon; also in evaluation", "geometry:Roi"),
        _transform("random_scale_crop", "Scale at random, then crop or pad to one size", "geometry:RandomScaleCrop"),
        _transform("flip", "Mirror left and right at random", "geometry:Flip"),
        _transform("colour", "Random brightness, contrast, saturation and hue", "colour:Colour"),
        _transform("blur", "Out of focus or moved, at random", "degrade:Blur"),
        _transform("noise", "Normal noise at random", "degrade:Noise"),
        _transform("jpeg", "Compressed once more at random", "degrade:Jpeg"),
        _transform("fog", "Fog by distance, at random", "weather:Fog"),
        _transform("rain", "Rain at random", "weather:Rain"),
        _transform("night", "Night with headlights, at random", "weather:Night"),
        _transform("mosaic", "Four pictures in one canvas", "mosaic:Mosaic"),
        _transform("copy_paste", "Objects of another picture pasted in", "copy_paste:CopyPaste"),
    ]
