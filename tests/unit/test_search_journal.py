"""A study's journal outlives a writer that is killed at any byte, and has one writer."""

from __future__ import annotations

import errno
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivetrain import DataError, UserError
from drivetrain.search.journal import Journal, frame, read_journal
from drivetrain.search.lease import Lease, LeaseLost, holder_of

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(), SCALARS, max_size=3)
RECORDS = st.lists(st.dictionaries(st.text(), VALUES, max_size=4), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None)
@given(RECORDS, st.data())
def test_a_cut_at_any_byte_leaves_all_whole_records_before_it(tmp_path_factory, records, data):
    path = tmp_path_factory.mktemp("study") / "journal"
    frames = [frame(record) for record in records]
    whole = b"".join(frames)
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    ends = [sum(map(len, frames[: n + 1])) for n in range(len(frames))]
    expected = records[: sum(end <= cut for end in ends)]
    assert read_journal(path) == expected
    journal = Journal(path, durable=False)
    assert journal.records == expected
    journal.append({"after": 1})
    journal.close()
    assert read_journal(path) == [*expected, {"after": 1}]


@settings(max_examples=40, deadline=None)
@given(RECORDS, st.binary(min_size=1, max_size=80))
def test_rubbish_at_the_end_is_cut_off(tmp_path_factory, records, rubbish):
    path = tmp_path_factory.mktemp("study") / "journal"
    path.write_bytes(b"".join(map(frame, records)) + rubbish)
    Journal(path, durable=False).close()
    assert path.read_bytes() == b"".join(map(frame, records))


def test_a_file_that_is_somebody_else_s_is_no_torn_journal(tmp_path):
    path = tmp_path / "journal"
    path.write_text("Monday: looked for data")
    for reading in (read_journal, Journal):
        with pytest.raises(DataError, match="no journal of a study"):
            reading(path)
    assert path.read_text() == "Monday: looked for data"


def test_damage_with_records_behind_it_is_told_and_nothing_is_cut(tmp_path):
    path = tmp_path / "journal"
    first, second, third = (frame({"n": n, "text": "x" * 20}) for n in range(3))
    damaged = first + second.replace(b"xx", b"xy", 1) + third
    path.write_bytes(damaged)
    for reading in (read_journal, Journal):
        with pytest.raises(DataError, match=f"byte {len(first)}"):
            reading(path)
    assert path.read_bytes() == damaged


def test_half_a_record_that_makes_other_journals_unreadable_is_nothing_here(tmp_path):
    """A line of JSON without its end, as a killed writer leaves it, with the next writer's record right behind."""
    path = tmp_path / "journal"
    path.write_bytes(frame({"n": 0}) + frame({"n": 1})[:-7])
    journal = Journal(path)
    journal.append({"n": 2})
    journal.commit()
    assert [record["n"] for record in read_journal(path)] == [0, 2]
    journal.close()


def test_a_writer_that_another_one_has_followed_writes_no_more(tmp_path):
    """Also where its guard is too late: what was read by the other stays a whole journal."""
    path = tmp_path / "journal"
    old = Journal(path)
    old.append({"n": 0})
    old.commit()
    new = Journal(path)
    new.append({"n": 1})
    new.commit()
    old.append({"n": 1, "old": True})
    with pytest.raises(UserError, match="another process has written to it"):
        old.commit()
    new.append({"n": 2})
    new.close()
    assert read_journal(path) == [{"n": 0}, {"n": 1}, {"n": 2}]


HOLD = """
import sys, time
from pathlib import Path
from drivetrain.search.lease import Lease
lease = Lease(Path(sys.argv[1]), beat_s=0.1)
lease.take()
print("mine", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "mine\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_controller_is_refused_and_told_who_the_first_is(tmp_path, holder):
    with pytest.raises(UserError, match=f"process {holder.pid} on "):
        Lease(tmp_path).take()
    holder.send_signal(signal.SIGSTOP)  # it still holds its lock, and may go on at any time
    with pytest.raises(UserError, match="another process runs"):
        Lease(tmp_path).take()
    assert f"process {holder.pid}" in str(holder_of(tmp_path))


def test_after_kill_9_the_next_one_has_it_at_once(tmp_path, holder):
    holder.kill()
    holder.wait()
    began = time.monotonic()
    lease = Lease(tmp_path)
    lease.take()
    assert time.monotonic() - began < 5 and str(os.getpid()) in str(holder_of(tmp_path))
    lease.release()
    assert holder_of(tmp_path) is None


def of_another_host(folder, beat):
    told = {"host": "elsewhere", "boot": "1", "pid": 1, "started": 1, "token": "theirs", "beat": beat}
    (folder / "controller.json").write_text(json.dumps(told))


def test_no_sign_is_left_by_one_that_has_ended(tmp_path, monkeypatch):
    """Also where it is about to give one: others would wait for it to be silent for long."""
    lease, write, begun = Lease(tmp_path, beat_s=0.05), Lease._write, threading.Event()
    lease.take()

    def slow(self):
        begun.set()
        time.sleep(0.1)
        write(self)

    monkeypatch.setattr(Lease, "_write", slow)
    assert begun.wait(10)
    lease.release()
    time.sleep(0.3)
    assert holder_of(tmp_path) is None and not lease.path.exists()


def test_of_two_hosts_that_begin_at_once_one_has_it(tmp_path, monkeypatch):
    """Where they share no lock: one finds nobody, and before it has said so the other one begins."""
    monkeypatch.setattr(Lease, "_take_lock", lambda self: None)
    first, second, read = Lease(tmp_path), Lease(tmp_path), Lease._read

    def found_nobody(self):
        monkeypatch.setattr(Lease, "_read", read)
        second.take()
        return None

    monkeypatch.setattr(Lease, "_read", found_nobody)
    with pytest.raises(UserError, match="another process runs"):
        first.take()
    second.check(at_once=True)
    second.release()
    assert not [path for path in tmp_path.iterdir() if path.name != ".controller.lock"]


def test_a_holder_whose_file_cannot_be_read_for_a_moment_is_not_gone(tmp_path, monkeypatch):
    """Another host replaces it as this one reads: a network file system then says that its handle is stale."""
    of_another_host(tmp_path, 7)
    watching, reads, text = Lease(tmp_path, beat_s=0.05, silent_s=0.6), itertools.count(), Path.read_text

    def stale(path):
        number = next(reads)
        if number == 2:
            raise OSError(errno.ESTALE, "Stale file handle")
        if number == 4:
            of_another_host(tmp_path, 8)
        return text(path)

    monkeypatch.setattr(Path, "read_text", stale)
    with pytest.raises(UserError, match="process 1 on elsewhere"):
        watching.take()


def test_without_a_common_lock_the_count_decides(tmp_path, monkeypatch):
    of_another_host(tmp_path, 7)
    watched = Lease(tmp_path, beat_s=0.05, silent_s=0.5)
    lost = Lease(tmp_path, beat_s=0.05, silent_s=0.5)
    beats = iter(range(8, 100))
    read = Lease._read
    monkeypatch.setattr(Lease, "_read", lambda self: (of_another_host(tmp_path, next(beats)), read(self))[1])
    with pytest.raises(UserError, match="process 1 on elsewhere"):
        watched.take()
    monkeypatch.undo()
    lost.take()  # the count stands still now
    lost.check(at_once=True)
    of_another_host(tmp_path, 1)
    time.sleep(0.1)
    with pytest.raises(LeaseLost, match="elsewhere"):
        lost.check()
    journal_of_the_loser = tmp_path / "journal"
    with pytest.raises(LeaseLost):
        Journal(journal_of_the_loser, lost.check)
    assert not journal_of_the_loser.exists()
    lost.release()
    assert json.loads((tmp_path / "controller.json").read_text())["token"] == "theirs"
