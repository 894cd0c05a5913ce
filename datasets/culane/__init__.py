"""CULane: lanes on roads of Beijing, by the six drivers that collected them (Pan et al., 2018).

::

    ROOT/driver_23_30frame/VIDEO.MP4/NAME.jpg            1640 x 590
    ROOT/driver_23_30frame/VIDEO.MP4/NAME.lines.txt      a lane a line: x y x y ...
    ROOT/list/{train,val,test}.txt                       or train_gt.txt, val_gt.txt
    ROOT/list/test_split/test1_crowd.txt                 and the other eight kinds of test pictures

Splits are the lists, those in ``test_split`` too (``test1_crowd``). A frame's scene is its video. Points run from near to far,
at most four lanes, in the files' own coordinates: some lie beside the picture. The tag ``category`` is the kind of a test
picture (normal, crowd, night...), by which the benchmark tells its results apart. The drawn masks are not read.
"""

from drivetrain import DatasetPlugin, hookimpl


@hookimpl
def drivetrain_datasets():
    return [
        DatasetPlugin(
            name="culane", about="CULane: up to four lanes; the kinds of its test pictures as tags",
            config="drivetrain.datasets.culane.config:CulaneConfig", factory="drivetrain.datasets.culane.dataset:build",
        )
    ]  # fmt: skip
