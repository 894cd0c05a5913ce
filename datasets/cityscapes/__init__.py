"""Cityscapes: streets of 50 cities, every pixel labelled (Cordts et al., 2016).

::

    ROOT/leftImg8bit/SPLIT/CITY/CITY_SEQ_FRAME_leftImg8bit.png         train, val, test; train_extra with gtCoarse
    ROOT/gtFine/SPLIT/CITY/CITY_SEQ_FRAME_gtFine_labelIds.png          not for test, whose masks are dummies
    ROOT/gtFine/SPLIT/CITY/CITY_SEQ_FRAME_gtFine_instanceIds.png       for the option boxes=true
    ROOT/camera/SPLIT/CITY/CITY_SEQ_FRAME_camera.json                  optional: calibration

Masks stay the files that they are: classes have the official names and ids. The 19 that are trained and evaluated are classes
here, all others are void, so that no mapping is needed. With ``boxes=true`` the frames of ``gtFine`` have boxes around the
pixels of each instance of the eight classes with instances; groups, whose instances nobody told apart, are ignored, and so
are caravans and trailers. With ``instances=true`` beside it their mask is stored too, numbered as the boxes are. The option
``labels=gtCoarse`` reads the coarse masks.

The scene is the city: the official splits divide by it. Tag: ``city``.
"""

from drivetrain import DatasetPlugin, hookimpl


@hookimpl
def drivetrain_datasets():
    return [
        DatasetPlugin(
            name="cityscapes", about="Cityscapes: semantic masks of 19 classes, boxes of instances, calibration",
            config="drivetrain.datasets.cityscapes.config:CityscapesConfig",
            factory="drivetrain.datasets.cityscapes.dataset:build",
            taxonomies="drivetrain.datasets.cityscapes.taxonomies:TAXONOMIES",
        )
    ]  # fmt: skip
