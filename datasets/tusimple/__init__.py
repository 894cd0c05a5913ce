"""TuSimple's lane benchmark: American highways, the last picture of each clip labelled (2017).

::

    ROOT/label_data_0313.json            a picture a line: raw_file, lanes, h_samples; also _0531 and _0601
    ROOT/test_label.json                 of the test pictures; or test_tasks_0627.json, which has no labels
    ROOT/clips/0313-1/6040/20.jpg        1280 x 720

The split ``train`` is all of ``label_data_*.json``, ``test`` is ``test_label.json`` (or the tasks); any json's name is a split
too, such as ``label_data_0531``, which many validate on. A frame's scene is its clip. A lane has an x at each of the rows in
``h_samples`` that it crosses; its points run from near to far, in the file's own coordinates.
"""

from drivetrain import DatasetPlugin, hookimpl


@hookimpl
def drivetrain_datasets():
    return [
        DatasetPlugin(
            name="tusimple", about="TuSimple's lane benchmark: lanes on highways",
            config="drivetrain.datasets.tusimple.config:TusimpleConfig",
            factory="drivetrain.datasets.tusimple.dataset:build",
        )
    ]  # fmt: skip
