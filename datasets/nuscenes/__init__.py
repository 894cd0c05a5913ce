"""nuScenes: six cameras all around, with calibration and ego poses (Caesar et al., 2020).

::

    ROOT/v1.0-trainval/*.json                 the tables; v1.0-mini, v1.0-test
    ROOT/samples/CAM_FRONT/NAME.jpg           and the other cameras; keyframes only

Splits are the official ones: ``train`` and ``val`` of v1.0-trainval, ``test``, ``mini_train`` and ``mini_val``; a version's own
name means all of its scenes. The option ``version`` names another folder of tables.

A frame is a sample; its key is the sample's token, its scene the scene's name. Each camera has its own time and ego pose.
Boxes are the annotated 3D boxes as they project onto the picture: the extent of the part that the picture shows, as the
official toolkit exports them. They are looser than boxes drawn by hand, and say nothing of what stands in front: attributes
keep ``visibility``, ``num_lidar_pts``, ``num_radar_pts``, the ``attributes`` of the annotation, and its 3D box in the world
(``translation``, ``size`` as width, length, height, and ``rotation`` as w, x, y, z). ``occlusion`` is from the middle of the
visibility's bin. A box that no lidar or radar point met is ignored, as in the official evaluation. Track ids are places in
the table of instances. Classes have the tables' own names; their ids are places in the table of categories.

Tags: ``location``, ``time_of_day`` (night where the scene's description says so, else day), ``weather`` (rain likewise, else
dry). With ``lidar=true`` the keyframe's sweep comes along as ``lidar_top``: x, y, z, intensity, ring.
"""

from drivetrain import DatasetPlugin, hookimpl


@hookimpl
def drivetrain_datasets():
    return [
        DatasetPlugin(
            name="nuscenes", about="nuScenes: six cameras, calibration, ego poses, 3D boxes projected to 2D; lidar",
            config="drivetrain.datasets.nuscenes.config:NuscenesConfig",
            factory="drivetrain.datasets.nuscenes.dataset:build",
            taxonomies="drivetrain.datasets.nuscenes.taxonomies:TAXONOMIES",
        )
    ]  # fmt: skip
