"""Argoverse 2, the sensor dataset: seven cameras all around, two ahead as a stereo pair, lidar (Wilson et al., 2021).

::

    ROOT/SPLIT/LOG/sensors/cameras/NAME/TIMESTAMP.jpg     train, val, test; times in ns
    ROOT/SPLIT/LOG/sensors/lidar/TIMESTAMP.feather
    ROOT/SPLIT/LOG/calibration/*.feather
    ROOT/SPLIT/LOG/city_SE3_egovehicle.feather            ego poses
    ROOT/SPLIT/LOG/annotations.feather                    3D boxes; of train and val
    ROOT/SPLIT/LOG/map/                                   its file names tell the city

A frame is a lidar sweep and, of each ring camera, the picture nearest to it, at most 25 ms away as the official loader has it;
its scene is the log. Sweeps beside which a camera of the log has no picture, at a log's ends, are left out. With
``stereo=true`` the stereo pair comes along, with ``lidar=true`` the sweep as ``lidar``: x, y, z, intensity, ring (the laser's
number), time (s since the sweep began). Sweeps lie in the ego frame, at their own time.
Pictures are published without distortion; the coefficients in the calibration are of the lenses, and are not passed on.

There are no 2D labels. The annotated 3D boxes as they project onto the pictures are read with ``boxes=true``: taken to be still
between the sweep's time and the picture's, looser than boxes drawn by hand, and blind to what stands in front. Attributes keep
``num_interior_pts``, the ``distance`` over ground (m) and the 3D box in the ego frame (``translation``, ``size`` as length,
width, height, ``rotation`` as w, x, y, z). A box without lidar points is ignored, as in the official evaluation. Track ids
are places among a log's tracks.

Tag: ``location``, the city's code.
"""

from drivetrain import DatasetPlugin, hookimpl


@hookimpl
def drivetrain_datasets():
    return [
        DatasetPlugin(
            name="argoverse2", about="Argoverse 2 sensor: ring and stereo cameras, poses; lidar; 3D boxes projected on request",
            config="drivetrain.datasets.argoverse2.config:Argoverse2Config",
            factory="drivetrain.datasets.argoverse2.dataset:build",
            taxonomies="drivetrain.datasets.argoverse2.taxonomies:TAXONOMIES",
        )
    ]  # fmt: skip
