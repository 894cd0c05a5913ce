"""BDD100K: pictures from dashboard cameras all over the United States (Yu et al., 2020).

::

    ROOT/images/100k/SPLIT/NAME.jpg              train, val, test
    ROOT/labels/det_20/det_SPLIT.json            boxes and tags; or the older labels/bdd100k_labels_images_SPLIT.json, or
                                                 labels/100k/SPLIT/NAME.json
    ROOT/labels/lane/polygons/lane_SPLIT.json    lane markings; or in one of the older forms
    ROOT/labels/drivable/masks/SPLIT/NAME.png    0 direct, 1 alternative, 2 background
    ROOT/images/10k/SPLIT/NAME.jpg               of these,
    ROOT/labels/sem_seg/masks/SPLIT/NAME.png     19 classes

The option ``labels`` says which are read: some of ``[detection, drivable, lanes]``, or ``[semantic]``, which has pictures of
its own. Of the split ``test`` there are only pictures. Pictures that the json does not list are left out: nobody looked at
them.

Tags are ``weather``, ``time_of_day`` and ``place`` (the json's scene), where they are defined. The older names bike, motor
and person are read as today's. Crowds, and what the benchmark ignores (other person, other vehicle, trailer), are ignored.
``occluded``, ``truncated`` and a traffic light's ``trafficLightColor`` are attributes. Corners are of pixels in the json: the
last one belongs to the box, which hence ends a pixel later here, as in the official evaluation.

A lane marking is labelled by lines along its edges, of eight classes, from ``crosswalk`` to ``single yellow``; direction and
style are attributes. Lines run from near to far here; of a curve eight points are taken.
"""

from drivetrain import DatasetPlugin, hookimpl


@hookimpl
def drivetrain_datasets():
    return [
        DatasetPlugin(
            name="bdd100k", about="BDD100K: 2D boxes, drivable area, lanes; or semantic masks; weather, place, time of day",
            config="drivetrain.datasets.bdd100k.config:Bdd100kConfig",
            factory="drivetrain.datasets.bdd100k.dataset:build",
            taxonomies="drivetrain.datasets.bdd100k.taxonomies:TAXONOMIES",
        )
    ]  # fmt: skip
