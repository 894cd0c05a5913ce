"""A manifest: how a team brings its own recordings, without writing Python.

A JSON-lines (or Parquet) file holds one frame a line. ROOT is the file itself, or a folder with ``SPLIT.jsonl`` or
``manifest.jsonl`` (or ``.parquet``). Paths are relative to the file's folder. The shortest line, of one camera::

    {"key": "drive7-000120", "image": "images/000120.jpg", "semantic": "masks/000120.png"}

and everything that one can say::

    {"key": "drive7-000120", "scene": "drive7", "split": "train", "tags": {"weather": "rain"},
     "cameras": {"cam_front": {
        "image": "front/000120.jpg",                     JPEG or PNG
        "semantic": "front_masks/000120.png",            one channel of class ids, the picture's size, 255 is void
        "boxes": [{"xyxy": [410, 220, 470, 268], "class": "car", "ignore": false, "track_id": 12,
                   "truncation": 0.0, "occlusion": 0.3, "attributes": {"brake_lights": true}}],
        "drivable": "front_drivable/000120.png",         as semantic, with classes of its own
        "lanes": [{"points": [[300, 719], [500, 420]], "class": "ego_left", "attributes": {}}],   x y along the line
        "depth": "front_depth/000120.png",               16 bits of 1/256 m along the optical axis, 0 is unknown
        "instances": "front_instances/000120.png",       n where the object of the n-th of boxes is, 0 for none
        "ignore_regions": [[0, 0, 200, 100]],            x1 y1 x2 y2 that nobody labelled
        "labelled_classes": {"object_detection": ["car"]},   what was looked for, where not all classes were
        "timestamp": 1690000000000000000,                ns
        "intrinsics": [[900, 0, 640], [0, 900, 360], [0, 0, 1]], "model": "pinhole", "distortion": [],
        "sensor_to_ego": [[...4 x 4...]], "ego_to_world": [[...4 x 4...]]}}}

The classes are declared in a first line, or in ``classes.json`` beside the file (for Parquet also in the schema's metadata,
under ``classes``). A mere name takes its place in the list as id::

    {"classes": {"semantic_segmentation": [{"name": "road", "id": 0, "color": [128, 64, 128]},
                                           {"name": "void", "id": 1, "ignore": true}],
                 "object_detection": ["car", "pedestrian"], "drivable_area": ["direct", "background"],
                 "lane_detection": ["ego_left", "ego_right"], "depth_estimation": []}}

Absent is not empty: without ``boxes`` nobody looked, ``"boxes": []`` says that somebody looked and found none. ``null`` is
absent. Where lines state a ``split``, only those of the split that is asked for are read; then every line must state one,
unless the file is named for its split. In Parquet the fields are columns (nested as above), or one string column ``frame``
holds the JSON.
"""

from drivetrain import DatasetPlugin, hookimpl


@hookimpl
def drivetrain_datasets():
    return [
        DatasetPlugin(
            name="manifest", about="Your own recordings, listed in a JSON-lines or Parquet file",
            factory="drivetrain.datasets.manifest.dataset:build",
        )
    ]  # fmt: skip
