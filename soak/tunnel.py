"""One end of a tunnel, either one: plays its part's steps while it reads, and writes what it saw into its account."""

import asyncio
import time
from collections.abc import Callable

from soak.accounts import Account
from soak.frames import BadFrame, Coding
from soak.marks import Check, Marks, Name, Running, Way, WrongBytes
from soak.plans import CLIENT, PACED_SECONDS, Await, AwaitEnd, Cut, Finish, Part, Pause, Send, Step
from soak.wires import End, Gone, How, Stuck, Wire


class _CutNow(Exception):
    """The plan's cut is due."""

    def __init__(self, how: How) -> None:
        super().__init__()
        self.how = how


class _EndedEarly(Exception):
    """What the next step waits for will not come."""


class TunnelEnd:
    """One end of one tunnel."""

    def __init__(self, wire: Wire, coding: Coding, names: tuple[Name, Name], account: Account) -> None:
        """`names`: of the stream that is sent, and of the one that arrives."""
        self._wire = wire
        self._coding = coding
        self._marks = Marks(names[0])
        self._sent = Running()
        self._check = Check(names[1])
        self._account = account
        self._severed = False
        self._moved = asyncio.Condition()

    def next(self, count: int) -> bytes:
        """The next bytes of the own stream as they go over the connection; they count as sent."""
        payload = self._marks.take(count)
        self._sent.add(payload)
        data = self._coding.encode(payload)
        self._account.raw_sent += len(data)
        return data

    def take(self, data: bytes) -> None:
        """Bytes that arrived behind a head.

        Raises:
            WrongBytes, BadFrame: They are not what was sent.
        """
        self._account.raw_got += len(data)
        self._check.feed(self._coding.feed(data))

    async def play(self, part: Part) -> None:
        """Play it to the end, however that comes; the wire is closed then."""
        account = self._account
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read(part))
                group.create_task(self._write(part))
        except* _CutNow as cuts:
            await self._sever(next(cut.how for cut in cuts.exceptions if isinstance(cut, _CutNow)))
        except* WrongBytes as wrongs:
            account.wrong = next(wrong.difference for wrong in wrongs.exceptions if isinstance(wrong, WrongBytes))
        except* (BadFrame, Stuck) as problems:
            account.problems += [str(problem) for problem in problems.exceptions]
        finally:
            self.note()
            self._wire.close()

    def note(self) -> None:
        """Write the account."""
        self._account.note(self._sent, self._check)
        self._account.end = self._wire.end.value if self._wire.end else ""
        self._account.complete = self._wire.end is End.ORDERLY and not self._severed

    async def _sever(self, how: How) -> None:
        """Cut it. A truncated one is read on, unseen, or the kernel would make a reset of it."""
        self._severed = True
        self._wire.sever(how)
        # Without TLS, leaving says FIN like an end in order.
        self._account.finished = self._account.finished or (how is How.LEAVE and not self._wire.secure)
        if how is How.TRUNCATE and self._wire.secure:
            while await self._wire.read():
                pass

    async def _read(self, part: Part) -> None:
        reading, began = part.reading, time.monotonic()
        while data := await self._wire.read(reading.piece):
            self.take(data)
            async with self._moved:
                self._moved.notify_all()
            if reading.pause and time.monotonic() - began < reading.slow_for:
                await asyncio.sleep(reading.pause)
        async with self._moved:
            self._moved.notify_all()

    async def _write(self, part: Part) -> None:
        try:
            for step in part.steps:
                await self._do(step)
        except (_EndedEarly, Gone):
            pass  # the account lacks `finished`, and `end` says how the connection went

    async def _do(self, step: Step) -> None:
        match step:
            case Send(count, piece, pause):
                began = time.monotonic()
                while count:
                    now = min(count, piece)
                    count -= now
                    await self._wire.send(self.next(now))
                    if pause and time.monotonic() - began < PACED_SECONDS:
                        await asyncio.sleep(pause)
            case Await(count):
                await self._until(lambda: self._check.count >= count)
                if self._check.count < count:
                    raise _EndedEarly
            case AwaitEnd():
                await self._until(lambda: False)
                if self._wire.end is not End.ORDERLY:
                    raise _EndedEarly
            case Pause(seconds):
                await asyncio.sleep(seconds)
            case Finish():
                if data := self._coding.last():
                    self._account.raw_sent += len(data)
                    await self._wire.send(data)
                await self._wire.finish()
                self._account.finished = True
            case Cut(how):
                raise _CutNow(how)

    async def _until(self, true: Callable[[], bool]) -> None:
        async with self._moved:
            await self._moved.wait_for(lambda: true() or self._wire.end is not None)


def streams(seed: int, connection: int, side: str) -> tuple[Name, Name]:
    """The names of what a tunnel's end sends and of what it gets."""
    up, down = (Name(seed, connection, 0, way) for way in Way)
    return (up, down) if side == CLIENT else (down, up)
