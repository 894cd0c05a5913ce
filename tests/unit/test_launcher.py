"""The commands that start ranks, as far as no cluster is needed to see that they say the right thing."""

from __future__ import annotations

import pytest

from drivetrain import launcher


@pytest.mark.parametrize(("visible", "there", "words"), [
    ("4,5,6", 8, ["--include", "localhost:4,5"]),  # beside a number deepspeed passes over the variable: those are another's
    ("4", 8, ["--num_accelerators", "2"]),
    ("GPU-1,GPU-2", 8, ["--num_accelerators", "2"]),
    (None, 8, ["--num_accelerators", "2"]),
    ("0,1", 0, ["--num_accelerators", "2"]),  # left over on a machine without any
])  # fmt: skip
def test_ranks_take_the_gpus_that_are_visible(monkeypatch, visible, there, words):
    monkeypatch.delenv(launcher.GPUS, raising=False)
    if visible is not None:
        monkeypatch.setenv(launcher.GPUS, visible)
    monkeypatch.setattr(launcher, "_all_gpus", lambda: [None] * there)
    command = launcher.local_command(2, 29500, "deepspeed", ["train", "a"]).words
    assert command[command.index("/dev/null") + 1 :][:2] == words, "and no hostfile that happens to be on this machine"


def test_tasks_of_an_allocation_have_the_cpus_that_were_asked_for_each(monkeypatch, tmp_path):
    """From Slurm 22.05 on, srun takes them from no variable that sbatch or salloc sets."""
    for tool in ("srun", "scontrol"):
        (tmp_path / tool).write_text("#!/bin/sh\necho node1\n")
        (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "node[1-2]")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "8")
    assert launcher.slurm_command(4, []).words[:4] == ["srun", "--ntasks", "4", "--cpus-per-task=8"]
    monkeypatch.delenv("SLURM_CPUS_PER_TASK")
    assert launcher.slurm_command(None, []).words[:2] == ["srun", "--kill-on-bad-exit=1"]
