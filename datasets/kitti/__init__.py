"""KITTI: the left colour camera with 2D boxes (Geiger, Lenz and Urtasun, 2012), objects and tracking.

``kitti`` reads the object benchmark::

    ROOT/training/image_2/000000.png          pictures, of several sizes
    ROOT/training/label_2/000000.txt          a line an object, 15 columns; not for testing/
    ROOT/training/calib/000000.txt            optional: intrinsics, and the camera's place
    ROOT/testing/image_2/ calib/
    ROOT/ImageSets/train.txt val.txt ...      the ids of a split; only ``training`` and ``testing`` need none
    ROOT/mapping/train_rand.txt train_mapping.txt   optional, of the devkit: which drive a training frame is of

``kitti_tracking`` reads the tracking benchmark; its splits are ``training`` and ``testing``, its scenes the sequences::

    ROOT/training/image_02/0000/000000.png
    ROOT/training/label_02/0000.txt           a line an object, 17 columns
    ROOT/training/calib/0000.txt              optional
    ROOT/training/oxts/0000.txt               optional: poses

DontCare becomes an ignore region. Truncation is the share that the label states (in tracking its three steps, halved), and
occlusion its three steps, halved: 0 visible, 0.5 partly, 1 largely. A box's attributes keep the label's own columns:
``occluded``, ``alpha``, and of the 3D box ``dimensions`` (height, width, length), ``location`` (middle of its bottom, in the
rectified camera 0) and ``rotation_y``. The ego frame is the GPS/IMU unit; the world begins at it, x east, y north, z up.
"""

from drivetrain import DatasetPlugin, hookimpl


@hookimpl
def drivetrain_datasets():
    return [
        DatasetPlugin(
            name="kitti", about="KITTI object benchmark: left camera, 2D boxes, calibration",
            config="drivetrain.datasets.kitti.config:KittiConfig", factory="drivetrain.datasets.kitti.objects:build",
            taxonomies="drivetrain.datasets.kitti.taxonomies:TAXONOMIES",
        ),
        DatasetPlugin(
            name="kitti_tracking", about="KITTI tracking benchmark: left camera, 2D boxes with track ids, calibration, poses",
            config="drivetrain.datasets.kitti.config:KittiConfig", factory="drivetrain.datasets.kitti.tracking:build",
            taxonomies="drivetrain.datasets.kitti.taxonomies:TAXONOMIES",
        ),
    ]  # fmt: skip
