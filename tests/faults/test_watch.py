"""The watch over ranks: whatever happens to one of them, all end in bounded time, the cause is told once, and with the same
exit code; and told to leave, all leave after the same step."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from drivetrain.watch import Watch
from drivetrain.watch_hub import Hub, Line

RANK = Path(__file__).with_name("watched.py")
WORLD = 3


class Job:
    """Ranks that do up to ``steps`` steps, of which one meets a fault."""

    def __init__(self, folder: Path, steps: int = 100_000, **fault: object):
        self.folder = folder
        words = [[sys.executable, str(RANK), str(folder), str(rank), str(WORLD), str(steps), json.dumps(fault)]
                 for rank in range(WORLD)]  # fmt: skip
        self.ranks = [subprocess.Popen(w, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for w in words]

    def await_step(self, step: int) -> None:
        end = time.monotonic() + 20
        while not (self.folder / f"{step}-0").exists():
            assert time.monotonic() < end
            time.sleep(0.01)

    def end(self, timeout_s: float = 20, stopped: int | None = None) -> tuple[list[int], str, list[str]]:
        """Exit codes, all that was said to people, and what each rank printed; ``stopped`` is a rank that cannot end."""
        try:
            others = [rank for number, rank in enumerate(self.ranks) if number != stopped]
            said = [rank.communicate(timeout=timeout_s) for rank in others]
            return [rank.returncode for rank in others], "".join(err for _, err in said), [out for out, _ in said]
        finally:
            for rank in self.ranks:
                rank.kill()
                rank.wait()


@pytest.fixture
def job(tmp_path) -> Callable[..., Job]:
    return lambda **about: Job(tmp_path, **about)


@pytest.mark.parametrize(("fault", "rank", "codes", "message"), [
    ("mistake", 1, {2}, r"error: rank 1 on host1: too many samples are damaged\n  look at the disk\n"),
    ("mistake", 0, {2}, r"error: rank 0 on host0: too many samples are damaged\n  look at the disk\n"),
    ("crash", 2, {1}, r"error: rank 2 on host2: Traceback [^\0]*KeyError: 'a bug'\n"),
    ("kill", 1, {1, -9}, r"error: rank 1 on host1 is gone: it was killed or it crashed \(last heard of: .*\)\n"),
    ("stop", 1, {1}, r"error: rank 1 on host1 has given no sign for 5 s: .*\n"),
])  # fmt: skip
def test_what_ends_one_rank_ends_all_and_is_told_once(job, fault, rank, codes, message):
    ended, said, _ = job(fault=fault, rank=rank, step=4).end(stopped=rank if fault == "stop" else None)
    assert set(ended) == codes, said
    assert re.fullmatch(message, said), said


def test_the_others_name_rank_0(job):
    ended, said, _ = job(fault="kill", rank=0, step=4).end()
    assert ended == [-9, 1, 1]
    assert "error: rank 0 on host0 is gone" in said and "Traceback" not in said


def test_a_rank_that_hangs_is_named_with_its_place_in_the_code(job):
    ended, said, _ = job(fault="hang", rank=2, step=4, timeout_s=1).end()
    assert set(ended) == {1}
    assert "no rank has moved" in said and "rank 2 on host2: step 4, computing" in said
    assert "rank 0 on host0: step 4, computing" in said and "time.sleep(60)" in said


def test_a_start_may_take_longer_than_a_step(job):
    running = job(fault="hang", rank=2, step=1, timeout_s=1)
    time.sleep(3)
    assert [rank.poll() for rank in running.ranks] == [None] * WORLD
    for rank in running.ranks:
        rank.kill()
    running.end()


@pytest.mark.parametrize(("number", "rank"), [(signal.SIGTERM, 0), (signal.SIGUSR1, 2)])
def test_a_signal_to_one_rank_makes_all_leave_after_the_same_step(job, number, rank):
    running = job()
    running.await_step(20)
    running.ranks[rank].send_signal(number)
    ended, said, printed = running.end()
    assert ended == [75] * WORLD and said == ""
    assert len(set(printed)) == 1 and re.fullmatch(r"left after \d+\n", printed[0])


def test_a_signal_to_all_many_times(job):
    running = job()
    running.await_step(20)
    for rank in [*running.ranks, *running.ranks]:  # as a scheduler and then a launcher do
        rank.send_signal(signal.SIGTERM)
    ended, said, printed = running.end()
    assert ended == [75] * WORLD and said == "" and len(set(printed)) == 1


def test_a_stop_file_says_the_code(job, tmp_path):
    running = job()
    running.await_step(5)
    (tmp_path / "stop").write_text("7 pruned")
    ended, said, printed = running.end()
    assert ended == [7] * WORLD and said == "" and len(set(printed)) == 1
    assert not (tmp_path / "stop").exists()


def test_a_stop_file_counts_once_its_writer_has_come_to_the_words(tmp_path):
    """And a file system that is away for a while does not end the watch."""
    watch, asked, stop = Watch(), [], tmp_path / "stop"
    watch._ask_to_leave = lambda *said: asked.append(said)
    watch._look_at(tmp_path / ("x" * 300))
    watch._look_at(stop)
    stop.touch()
    watch._look_at(stop)
    assert stop.exists() and not asked
    stop.write_text("75 SIGTERM to the launcher")
    watch._look_at(stop)
    assert asked == [(75, "SIGTERM to the launcher")] and not stop.exists()
    stop.touch()
    watch._look_at(stop)
    assert asked[1:] == [(0, f"{stop} was there")]


UNHEARD = """
import sys, time
from drivetrain.watch import Watch
watch = Watch()
watch.join(lambda value: value, "here", "localhost")
print("joined", flush=True)
sys.stdin.read()
watch._line.socket.shutdown(2)
time.sleep(20)
"""


def test_a_rank_whose_output_nobody_reads_ends_all_the_same():
    """As where the launcher, or the tee behind it, was killed with everything else."""
    reading, writing = os.pipe()
    rank = subprocess.Popen(
        [sys.executable, "-c", UNHEARD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=writing, text=True
    )
    os.close(writing)
    assert rank.stdout.readline() == "joined\n"
    os.close(reading)
    rank.stdout.close()
    rank.stdin.close()
    assert rank.wait(10) == 1


def test_ranks_that_cannot_leave_in_time_are_ended_and_say_where_they_are(job):
    running = job(fault="stop", rank=1, step=20)
    running.await_step(20)
    running.ranks[0].send_signal(signal.SIGTERM)
    ended, said, _ = running.end(stopped=1)
    assert ended == [75, 75] and said.startswith("error: the ranks did not leave within 2 s")
    assert "rank 1 on host1: " in said


def test_a_second_sigterm_ends_at_once(job):
    running = job(fault="hang", rank=1, step=20)
    running.await_step(20)
    running.ranks[1].send_signal(signal.SIGTERM)
    time.sleep(1.2)
    running.ranks[1].send_signal(signal.SIGTERM)
    assert running.ranks[1].wait(5) == 128 + signal.SIGTERM
    running.end()


def test_a_job_that_is_paused_as_a_whole_goes_on(job):
    running = job()
    running.await_step(20)
    for number, pause_s in ((signal.SIGSTOP, 6), (signal.SIGCONT, 2)):
        for rank in running.ranks:
            rank.send_signal(number)
        time.sleep(pause_s)
    assert [rank.poll() for rank in running.ranks] == [None] * WORLD
    running.ranks[0].send_signal(signal.SIGTERM)
    ended, said, _ = running.end()
    assert ended == [75] * WORLD and said == ""


def test_a_job_that_is_done_ends_quietly(job):
    ended, said, printed = job(steps=30).end()
    assert ended == [0] * WORLD and said == "" and printed == ["left after 30\n"] * WORLD


def test_strangers_are_not_heard():
    hub = Hub(1)
    hub.start()
    stranger = Line(socket.create_connection(("localhost", hub.port)))
    stranger.send("hello", rank=0, token="guessed", host="?")
    stranger.send("stop", rank=0, code=0, why="mischief", grace_s=None)
    stranger.socket.sendall(b"no JSON\n")
    known = Line(socket.create_connection(("localhost", hub.port)))
    known.send("hello", rank=0, token=hub.token, host="here")
    known.send("stop", rank=0, code=75, why="maintenance", grace_s=None)
    messages = known.receive()
    assert messages == [{"kind": "hold"}] and hub.is_alive()
    known.send("left", rank=0)
