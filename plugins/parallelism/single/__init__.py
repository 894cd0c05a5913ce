"""One rank, plain torch: the reference that other engines are compared with."""

from drivetrain import ParallelismPlugin, hookimpl


@hookimpl
def drivetrain_parallelisms():
    return [
        ParallelismPlugin(
            name="single",
            about="One rank with plain torch, for a laptop and for comparison",
            factory="drivetrain.plugins.parallelism.single.engine:SingleEngine",
        )
    ]
