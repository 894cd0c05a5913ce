"""A plugin for tests: an engine like drivetrain's DeepSpeed one, that goes wrong on one rank at one step.

drivetrain train RECIPE --plugin tests/faults/faulty.py "parallelism={plugin: faulty, fault: mistake, rank: 1, step: 3}"
"""

import os
import signal
import time

from drivetrain import DataError, ParallelismPlugin, PluginConfig, hookimpl


class FaultyConfig(PluginConfig):
    fault: str
    rank: int
    step: int


def mistake():
    raise DataError("too many samples are damaged", remedy="look at the disk")


def crash():
    raise KeyError("a bug")


FAULTS = {
    "mistake": mistake,
    "crash": crash,
    "hang": lambda: time.sleep(600),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
}


def build(config, context):
    from drivetrain.plugins.parallelism.deepspeed.config import DeepSpeedConfig
    from drivetrain.plugins.parallelism.deepspeed.engine import DeepSpeedEngine

    engine = DeepSpeedEngine(DeepSpeedConfig(), context)
    sound_step = engine.step

    def step(micro_batches):
        if (engine.steps + 1, context.comm.rank) == (config.step, config.rank):
            FAULTS[config.fault]()
        return sound_step(micro_batches)

    engine.step = step
    return engine


@hookimpl
def drivetrain_parallelisms():
    own = {"config": f"{__name__}:FaultyConfig", "factory": f"{__name__}:build"}
    return [ParallelismPlugin(name="faulty", about="goes wrong", **own)]
