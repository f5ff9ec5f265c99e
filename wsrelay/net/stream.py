"""A leg during its HTTP life, read with `await`: the bytes held, who waits for them, and backpressure both ways.

Knows heads and bodies only as readers that it feeds. Ends at the handoff, when `release` gives up the leg and every
byte that was read and not taken.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from wsrelay.core.outcomes import Loss, Side
from wsrelay.core.refusal import Lost
from wsrelay.net.deadlines import Deadline
from wsrelay.net.legs import Leg
from wsrelay.net.tls_leg import TlsLeg

# Bytes that come while nobody reads (a pipelined request, frames before the 101) are held up to here, then the leg
# pauses: no more than one head (32 KiB) or a few early frames need it, and one read may come on top.
HELD_BYTES = 64 * 1024

# An object of one byte costs some fifty: what is held has no more pieces than this.
_MOST_PIECES = 64

Head = TypeVar("Head", covariant=True)


class HeadReader(Protocol[Head]):
    """The part of `core.head`'s readers that a stream needs."""

    rest: bytes

    def feed(self, data: bytes) -> Head | None:
        """Take more bytes; the head once it is complete."""


class Stream:
    """One leg, read by one coroutine at a time, written by any.

    Attributes:
        leg: The connection.
        held: How many bytes have arrived that nobody has taken.
        when_gone: Called when the leg is lost while nobody waits for it, so that the session does not go on for nobody.
        when_ended: The same for an orderly end; None where a half-closed client may still get its answer.
    """

    __slots__ = ("_draining", "_failure", "_pieces", "_reading", "_side", "held", "leg", "when_ended", "when_gone")

    def __init__(self, leg: Leg, side: Side) -> None:
        """Become the leg's receiver. Reading starts with the first wait."""
        self.leg = leg
        self._side = side
        self._pieces: list[bytes] = []
        self.held = 0
        self._reading: Deferred[None] | None = None
        self._draining: Deferred[None] | None = None
        self._failure: Exception | None = None
        self.when_gone: Callable[[Exception], None] | None = None
        self.when_ended: Callable[[Exception], None] | None = None
        leg.receiver = self

    @property
    def reusable(self) -> bool:
        """Whether the connection is alive, and silent as an idle one has to be."""
        return not (self.held or self._failure or self.leg.ended or self.leg.closed or self.leg.waiting)

    # Reading.

    async def some(self) -> bytes:
        """Wait for bytes; all that are held, or `b""` at the other side's end.

        Raises:
            Lost: The leg went away.
            Exception: Whatever `fail` was given.
        """
        if not self.held:
            await self._readable()
        return self.take()

    async def read(self, reader: HeadReader[Head]) -> Head | None:
        """Wait for a whole head; None if the other side ends instead. What follows the head stays held.

        Raises:
            Refusal: The reader's.
            Lost: The leg went away.
            Exception: Whatever `fail` was given.
        """
        while data := await self.some():
            head = reader.feed(data)
            if head is not None:
                self.unread(reader.rest)
                return head
        return None

    def unread(self, data: bytes) -> None:
        """Put back bytes that belong to the next reader."""
        if data:
            self._pieces.insert(0, data)
            self.held += len(data)

    def watch(self) -> None:
        """Go on reading although nobody waits, so that a leg that goes away is noticed. Held bytes stay bounded."""
        if self.held < HELD_BYTES:
            self.leg.resume()

    def fail(self, error: Exception) -> None:
        """End the current waits, and every later one, with `error`."""
        self._failure = error
        waits, self._reading, self._draining = (self._reading, self._draining), None, None
        for wait in waits:
            # Who is woken first may cancel the other: a session that ends stops its upload.
            if wait is not None and not wait.called:
                wait.errback(error)

    def take(self) -> bytes:
        """All bytes that are held, without waiting."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        self.held = 0
        return data

    async def _readable(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self.leg.ended or self.leg.closed:
            return
        self._reading = Deferred(self._stop_reading)
        self.leg.resume()
        await self._reading

    def _stop_reading(self, _: Deferred[None]) -> None:
        self._reading = None

    def _stalled(self) -> Lost:
        return Lost(self._side, Loss.STALLED)

    def _stop_draining(self, _: Deferred[None]) -> None:
        self._draining = None

    # Writing.

    def write(self, data: bytes) -> None:
        """Send bytes, or keep them; whoever writes much awaits `room` in between."""
        self.leg.write(data)

    async def room(self, clock: IReactorTime, stall_seconds: float) -> None:
        """Return at once unless the leg is full; then wait until it has sent everything.

        Raises:
            Lost: STALLED when nothing moved for `stall_seconds`, or the leg went away.
        """
        if self.leg.full:
            await self.flushed(clock, stall_seconds)

    async def flushed(self, clock: IReactorTime, stall_seconds: float) -> None:
        """Wait until everything written has been sent. Raises as `room` does."""
        while self.leg.waiting:
            if self._failure is not None:
                raise self._failure
            self._draining = Deferred(self._stop_draining)
            with Deadline(clock, stall_seconds, self.fail, self._stalled, progress=lambda: self.leg.moved):
                await self._draining

    async def handshake(self, leg: TlsLeg) -> None:
        """Go on with a leg on the same socket, and wait for its TLS handshake.

        Raises:
            Lost: The handshake failed, or the other end left.
            Exception: Whatever `fail` was given.
        """
        self.leg = leg
        leg.receiver = self
        secured = self._reading = Deferred(self._stop_reading)
        leg.secure()
        await secured

    async def finish(self, clock: IReactorTime, stall_seconds: float) -> None:
        """Send our end behind everything written before, and wait until it is sent. Earlier failures do not count.

        Raises:
            Lost: As `room`.
        """
        self._failure = None
        self.leg.finish()
        await self.flushed(clock, stall_seconds)

    async def farewell(self, clock: IReactorTime, stall_seconds: float, seconds: float) -> None:
        """Send our end, then read and discard until the other side's, so that no RST overtakes our last answer.

        RFC 9112 9.6. A slow reader gets what waits for it, as long as some of it moves within `stall_seconds`; then
        the other side has `seconds`. The leg is closed in any case.
        """
        try:
            await self.finish(clock, stall_seconds)
            with Deadline(clock, seconds, self.fail, self._stalled):
                while await self.some():
                    pass
        except Lost:
            pass
        finally:
            self.leg.close()

    def release(self) -> tuple[Leg, bytes]:
        """Give up the leg, paused, with the bytes that were read and not taken. The stream is of no use after."""
        self.leg.pause()
        data = self.take()
        self.when_gone = self.when_ended = None
        return self.leg, data

    # What the leg tells.

    def received(self, data: bytes) -> None:
        """Hold the bytes, wake the reader."""
        if len(self._pieces) >= _MOST_PIECES:
            self._pieces[:] = [b"".join(self._pieces)]
        self._pieces.append(data)
        self.held += len(data)
        if self._reading is not None:
            self._wake()
        elif self.held >= HELD_BYTES:
            self.leg.pause()

    def ended(self) -> None:
        """Wake the reader, who finds no bytes."""
        if self._reading is not None:
            self._wake()
        elif self.when_ended is not None:
            self.when_ended(Lost(self._side, None))

    def lost(self, loss: Loss) -> None:
        """Fail whoever waits, or tell the session."""
        error = Lost(self._side, loss)
        if self.leg.problem:
            error.add_note(self.leg.problem)
        nobody_waits = self._reading is None and self._draining is None
        self.fail(error)
        if nobody_waits and self.when_gone is not None:
            self.when_gone(error)

    def drained(self) -> None:
        """The write buffer is empty: wake whoever waits for room."""
        wait, self._draining = self._draining, None
        if wait is not None:
            wait.callback(None)

    def secured(self, first: bytes) -> None:
        """The TLS handshake is done, and bytes may have come right behind it."""
        self.unread(first)
        self._wake()

    def _wake(self) -> None:
        wait, self._reading = self._reading, None
        if wait is not None:
            wait.callback(None)
