"""Waymo Open Dataset, perception, in its second format: a parquet file for each segment and component (Sun et al., 2020).

::

    ROOT/SPLIT/camera_image/SEGMENT.parquet          training, validation, testing
    ROOT/SPLIT/camera_calibration/SEGMENT.parquet
    ROOT/SPLIT/camera_box/SEGMENT.parquet            where there are labels
    ROOT/SPLIT/stats/SEGMENT.parquet                 optional: tags
    ROOT/SPLIT/{lidar,lidar_calibration,lidar_pose,vehicle_pose}/SEGMENT.parquet    with lidar=true

A frame has five cameras, each with the ego pose at the time of its own picture; its scene is the segment. Boxes are those
drawn by hand on the pictures. The four classes keep the labelling specification's meaning: motorcycles are vehicles, a cyclist
is the rider with the bicycle, trams and parked bicycles are not labelled. The attribute ``difficulty`` is the detection
benchmark's level, 1 or 2, where it is told. Track ids are places among a segment's objects.

Cameras look along x in the files; here, as everywhere, along z. Distortion is OpenCV's k1, k2, p1, p2, k3. The rolling shutter
is not modelled. Tags: ``weather``, ``time_of_day``, ``location``.

With ``lidar=true`` the five lidars come along, each in its own frame: x, y, z, intensity, elongation, of both returns, taken
from the range images as the official tools do it; what the top lidar measured during its turn is moved to the time of the
frame. Camera segmentation, 3D boxes and key points are not read.
"""

from drivetrain import DatasetPlugin, hookimpl


@hookimpl
def drivetrain_datasets():
    return [
        DatasetPlugin(
            name="waymo", about="Waymo Open Dataset v2 (parquet): five cameras, 2D boxes with tracks, poses; lidar",
            config="drivetrain.datasets.waymo.config:WaymoConfig", factory="drivetrain.datasets.waymo.dataset:build",
            taxonomies="drivetrain.datasets.waymo.taxonomies:TAXONOMIES",
        )
    ]  # fmt: skip
