"""A plugin that `hpo_share.py` gives to trials: when their process began, and when each thing that they do was done.

A line of ``marks.jsonl`` in the run's folder: ``born``, when the process was started, and ``at``, when ``what`` had happened,
in seconds since the host's start.
"""

import os
import time

from drivetrain import hookimpl
from drivetrain.owner import process_start
from drivetrain.run import append_record

BORN = process_start(os.getpid()) / os.sysconf("SC_CLK_TCK")  # psutil's is rounded to whole seconds of the host's start


def note(run, what):
    at = time.clock_gettime(time.CLOCK_BOOTTIME)
    append_record(run.folder.path / "marks.jsonl", {"born": BORN, "at": at, "what": what})


@hookimpl
def drivetrain_run_started(run):
    note(run, "startup")


@hookimpl
def drivetrain_metrics_logged(run):
    note(run, "steps")


@hookimpl
def drivetrain_evaluation_finished(run):
    note(run, "evaluation")


@hookimpl
def drivetrain_checkpoint_saved(run):
    note(run, "saving")


@hookimpl
def drivetrain_run_finished(run):
    note(run, "leaving")
