"""Any COCO json of boxes: COCO's own (Lin et al., 2014), a labelling tool's export, LVIS.

::

    ROOT/annotations/instances_SPLIT.json     or SPLIT.json, annotations.json, SPLIT/_annotations.coco.json; ROOT itself
                                              may be the json
    ROOT/SPLIT/NAME.jpg                       or images/SPLIT/, images/, or beside the json: where the first picture is

The options ``annotations`` and ``images`` name other places, relative to ROOT, ``{split}`` in them being the split.

``iscrowd`` and ``ignore`` are honoured; boxes are cut to the picture, those without any area left out. Kept where they are
given: ``area`` and ``attributes`` (as attributes), ``track_id``, ``truncation``, ``occlusion``, and of a picture
``ignore_regions``. ``"labelled": false`` says that nobody looked at a picture. Where pictures list what was looked for (LVIS:
``neg_category_ids``, ``not_exhaustive_category_ids``), only those classes count as labelled in them. A frame's scene is the
picture's ``video_id`` or ``scene``, if it has one. Segmentations and keypoints are not read.
"""

from drivetrain import DatasetPlugin, hookimpl


@hookimpl
def drivetrain_datasets():
    return [
        DatasetPlugin(
            name="coco", about="Boxes of any COCO json (COCO, LVIS, a labelling tool's export)",
            config="drivetrain.datasets.coco.config:CocoConfig", factory="drivetrain.datasets.coco.dataset:build",
            taxonomies="drivetrain.datasets.coco.taxonomies:TAXONOMIES",
        )
    ]  # fmt: skip
