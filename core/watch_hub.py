"""Rank 0's side of the watch: it hears every rank, and says when all are to leave and why.

A thread serves one connection a rank. What is said are JSON objects, a line each; see `drivetrain.watch` for the ranks' side.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import selectors
import socket
import sys
import time
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import Any

BEAT_S = 1.0
SILENT_S = 15.0
"""A rank that was not heard for so long is gone: it, its host or the network."""
PATIENT_S = 1500.0
"""The time-out of what may take long: the start, evaluations, saves. Below the process group's own, which names nobody."""
LONG = ("starting", "evaluating", "saving")
SETTLE_S, SYMPTOM_S = 0.5, 5.0
"""How long the hub waits for better causes after a failure, and after one that looks like the effect of another."""


def say(text: str) -> None:
    """To standard error, if anybody reads that still: a thread of the watch that died of it would end nothing any more."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


class Line:
    """One end of a connection that carries JSON objects. ``heard``: when something came last, by the monotonic clock."""

    def __init__(self, connection: socket.socket):
        connection.settimeout(SILENT_S)
        self.socket, self.heard = connection, time.monotonic()
        self._rest, self._sending = b"", Lock()

    def send(self, kind: str, **content: Any) -> None:
        """Where the other end is gone nothing happens: `receive` tells."""
        try:
            with self._sending:
                self.socket.sendall(json.dumps({"kind": kind, **content}).encode() + b"\n")
        except OSError:
            pass

    def receive(self) -> list[dict[str, Any]] | None:
        """What has come; None where the other end is gone, or speaks another language."""
        try:
            data = self.socket.recv(1 << 16)
            *lines, self._rest = (self._rest + data).split(b"\n")
            self.heard = time.monotonic()
            return [json.loads(line) for line in lines] if data else None
        except (OSError, ValueError):
            return None


@dataclass
class Standing:
    """What the hub knows of a rank: where it is in its run and how it fares."""

    line: Line
    host: str
    begun: int = 0
    step: int = 0
    phase: str = "starting"
    moves: int = 0
    moved: float = field(default_factory=time.monotonic)
    held: int | None = None
    failure: dict[str, Any] | None = None
    gone: str | None = None
    left: bool = False

    def place(self) -> str:
        return f"step {self.step}, {self.phase}" if self.step else self.phase


class Hub(Thread):
    """Serves the ranks of a job of ``world`` at ``port`` to those that know ``token``. ``timeout_s``: after how long without a
    move of any rank in a step the job is ended; None: never."""

    def __init__(self, world: int):
        super().__init__(daemon=True, name="watch-hub")
        self.world, self.token = world, secrets.token_hex(16)
        self.timeout_s: float | None = None
        self.ranks: dict[int, Standing] = {}
        self._stop: dict[str, Any] | None = None
        self._due = float("inf")
        self._trouble: float | None = None
        self._verdict = False
        self._alive = time.monotonic()
        self.alone = Event()
        """Every rank but rank 0 has ended."""
        self._server = _listen(world)
        self.port: int = self._server.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._server, selectors.EVENT_READ)

    def run(self) -> None:
        while True:
            for key, _ in self._selector.select(BEAT_S / 4):
                if key.data is None:
                    line = Line(self._server.accept()[0])
                    self._selector.register(line.socket, selectors.EVENT_READ, line)
                else:
                    self._serve(key.data)
            now = time.monotonic()
            if now - self._alive > SILENT_S / 2:  # this process was stopped itself, and the others with it perhaps
                for standing in self.ranks.values():
                    standing.line.heard = standing.moved = now
            if now - self._alive > BEAT_S:
                self._alive = now
                self.tell_all("alive")
            if not self._verdict:
                self._judge()
            elif all(standing.gone or rank == 0 for rank, standing in self.ranks.items()):
                self.alone.set()

    def tell_all(self, kind: str, **content: Any) -> None:
        for standing in list(self.ranks.values()):
            if not standing.left and not standing.gone:
                standing.line.send(kind, **content)

    # ---- hearing

    def _serve(self, line: Line) -> None:
        messages = line.receive()
        if messages is None:
            self._selector.unregister(line.socket)
            for standing in self.ranks.values():
                if standing.line is line and not standing.left:
                    standing.gone = "is gone: it was killed or it crashed"
        for message in messages or ():
            self._heed(line, **message)

    def _heed(self, line: Line, kind: str, rank: int, **said: Any) -> None:
        if kind == "hello":
            if said["token"] == self.token:
                self.ranks[rank] = Standing(line, said["host"])
                if self._stop is not None:
                    line.send("hold")
            return
        standing = self.ranks.get(rank)
        if standing is None or standing.line is not line:
            return
        if kind == "beat":
            self._note(standing, **said)
        elif kind == "failed":
            standing.failure = said
        elif kind == "left":
            standing.left = True
        elif kind == "stop" and self._stop is None:
            self._stop, self._due = said, time.monotonic() + (said["grace_s"] or float("inf"))
            self.tell_all("hold")
        elif kind == "held":
            standing.held = said["step"]
            self._agree()

    def _note(self, standing: Standing, moves: int, begun: int, step: int, phase: str) -> None:
        if moves != standing.moves:
            standing.moved = time.monotonic()
        standing.moves, standing.begun, standing.step, standing.phase = moves, begun, step, phase

    def _agree(self) -> None:
        """Once every rank holds still, none is beyond the last step that one has begun: all leave after it."""
        steps = [s.held for s in self.ranks.values() if not s.left]
        if self._stop is not None and len(self.ranks) == self.world and None not in steps:
            self.tell_all("leave", after=max(step for step in steps if step is not None), **self._stop)

    # ---- judging

    def _judge(self) -> None:
        now = time.monotonic()
        for standing in self.ranks.values():
            if not standing.left and not standing.gone and now - standing.line.heard > SILENT_S:
                standing.gone = f"has given no sign for {SILENT_S:.0f} s: it is stopped, or its host or the network is gone"
        failed = {rank: s for rank, s in self.ranks.items() if s.failure is not None}
        gone = {rank: s for rank, s in self.ranks.items() if s.gone}
        if not failed and not gone:
            self._judge_progress(now)
            return
        self._trouble = now if self._trouble is None else self._trouble
        causes = {rank: s.failure for rank, s in failed.items() if s.failure and not s.failure["symptom"]}
        all_heard = len(failed) + len(gone) == len(self.ranks)
        if now - self._trouble > (SETTLE_S if causes or gone or all_heard else SYMPTOM_S):
            self._end_for(failed, gone, causes)

    def _end_for(self, failed: dict[int, Standing], gone: dict[int, Standing], causes: dict[int, Any]) -> None:
        """A user's mistake goes before a rank that is gone, that before a crash, and all before what looks like an effect."""
        mistakes = [rank for rank, failure in causes.items() if failure["code"] != 1]
        if gone and not mistakes:
            text = "\n".join(f"rank {r} on {s.host} {s.gone} (last heard of: {s.place()})" for r, s in sorted(gone.items()))
            self._end(text, 1)
            return
        rank = min(mistakes or causes or failed)
        failure = failed[rank].failure
        assert failure is not None
        head = "" if failure["told"] else f"rank {rank} on {failed[rank].host}: "
        self._end(head + failure["text"], failure["code"])

    def _judge_progress(self, now: float) -> None:
        """Ranks that wait in a collective stand still with the one that does not come: the least far is named."""
        there = {rank: s for rank, s in self.ranks.items() if not s.left}
        if self._stop is not None and now > self._due:
            late = f"the ranks did not leave within {self._stop['grace_s']:.0f} s (train.grace_s); the newest checkpoint stands"
            self._end(f"{late}\n{_places(there, now, [])}", self._stop["code"])
        if self.timeout_s is None or not there or self._verdict:
            return
        early = min(s.begun for s in there.values()) <= 2  # the first steps compile and warm up
        limit = max(PATIENT_S, self.timeout_s) if early or any(s.phase in LONG for s in there.values()) else self.timeout_s
        still = now - max(s.moved for s in there.values())
        if still > limit:
            least = min(s.moves for s in there.values())
            behind = [r for r, s in there.items() if s.moves == least] if any(s.moves > least for s in there.values()) else []
            text = f"no rank has moved for {still:.0f} s (train.timeout_s)\n{_places(there, now, behind)}"
            self._end(text, 1, behind or list(there))

    def _end(self, text: str, code: int, behind: list[int] | None = None) -> None:
        self._verdict = True
        say(f"error: {text}")
        self.tell_all("verdict", code=code, behind=behind or [])


def _places(ranks: dict[int, Standing], now: float, behind: list[int]) -> str:
    """A line for the ranks of one host that stand at one place."""
    places: dict[tuple[str, str, str], list[str]] = {}
    for rank, s in sorted(ranks.items()):
        mark = "  <- behind" if rank in behind else ""
        places.setdefault((s.host, f"{s.place()}, for {now - s.moved:.0f} s", mark), []).append(str(rank))
    return "\n".join(
        f"  rank{'s' if len(names) > 1 else ''} {', '.join(names)} on {host}: {place}{mark}"
        for (host, place, mark), names in places.items()
    )


def _listen(backlog: int) -> socket.socket:
    """A server on every address of this host, also those of IPv6 where it has any."""
    try:
        return socket.create_server(("", 0), family=socket.AF_INET6, backlog=backlog, dualstack_ipv6=True)
    except (OSError, ValueError):
        return socket.create_server(("", 0), backlog=backlog)
