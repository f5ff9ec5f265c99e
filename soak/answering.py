"""The upstream's part of one plain exchange: takes the request's body, answers, or cuts it where the plan says so."""

import asyncio
from http import HTTPStatus

from soak.accounts import Account
from soak.marks import Check, Marks, Name, Running, Way
from soak.messages import Ended, Head, Inlet, framing_line, framing_of, send_body
from soak.plans import BRISK, UPSTREAM, Body, Conversation, Declined, ExchangePlan, Framing, HttpCut, Plan, Where
from soak.wires import Gone, How, Wire


class _CutNow(Exception):
    """The plan's cut is due."""


def status_line(status: int, plan: Plan, exchange: int) -> str:
    """The status line, and the field that says whose answer this is."""
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nX-Soak: {plan.number}.{exchange}\r\n"


class Answering:
    """One request, from its head on."""

    def __init__(self, plan: Plan, exchange: int, account: Account, inlet: Inlet, wire: Wire) -> None:
        """The head has been read."""
        self._plan = plan
        self._number = exchange
        self._account = account
        self._inlet = inlet
        self._wire = wire
        self._sent = Running()
        self._marks = Marks(Name(plan.seed, plan.number, exchange, Way.DOWN))
        self._check = Check(Name(plan.seed, plan.number, exchange, Way.UP))

    async def play(self, what: Conversation, head: Head) -> bool:
        """Play it; whether the connection goes on.

        Raises:
            WrongBytes, Nonsense, Stuck: The request is not what was sent.
        """
        exchanges = what.exchanges
        if self._number >= len(exchanges) or not head.start.startswith(f"{exchanges[self._number].method} "):
            self._account.problems.append(f"a request that nobody sent: {head.start!r}")
            return False
        last = self._number == len(exchanges) - 1
        cut = what.cut if last and what.cut and what.cut.side == UPSTREAM else None
        try:
            return await self._play(exchanges[self._number], head, cut)
        except _CutNow:
            assert cut is not None
            self._wire.sever(cut.how)
        except (Ended, Gone):
            pass  # the account lacks what is missing
        finally:
            self._account.note(self._sent, self._check)
        return False

    async def decline(self, what: Declined) -> None:
        """Answer an upgrade with ordinary HTTP; nothing of what the client sent behind it may come, ever.

        Raises:
            Stuck: The relay does not end the connection.
        """
        try:
            await asyncio.sleep(what.delay)
            if self._inlet.take_held() or self._wire.has_bytes():
                self._account.problems.append("bytes of the client before the answer to its upgrade")
            await self.send(what.status, what.answer, "GET", closes=True)
            await self._wire.finish()
            if await self._inlet.some():
                self._account.problems.append("bytes of the client behind an upgrade that was declined")
        except Gone:
            pass  # the account lacks what is missing
        finally:
            self._account.note(self._sent, self._check)

    async def _play(self, exchange: ExchangePlan, head: Head, cut: HttpCut | None) -> bool:
        for _ in range(exchange.interim):
            await self._wire.send(b"HTTP/1.1 103 Early Hints\r\nLink: </soak>\r\n\r\n")
        if exchange.early:
            await self._answer(exchange, cut)
            await self._wire.finish()
            await self._take(exchange, head, None)
            await self._drain()
            return False
        if exchange.expects:
            if head.fields.get("expect") != "100-continue":
                self._account.problems.append("the client's expectation is missing")
            await self._wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await self._take(exchange, head, cut)
        await asyncio.sleep(exchange.delay)
        if cut and cut.where is Where.WAITING:
            raise _CutNow
        await self._answer(exchange, cut)
        if exchange.closes:
            await self._wire.finish()
            await self._drain()
        return not (exchange.closes or exchange.drops)

    async def _take(self, exchange: ExchangePlan, head: Head, cut: HttpCut | None) -> None:
        after = cut.after if cut and cut.where is Where.BODY else None
        if after == 0:
            raise _CutNow
        self._inlet.be(exchange.body.reading)
        async for piece in self._inlet.body(*framing_of(head, request=True)):
            self._check.feed(piece)
            if after is not None and self._check.count >= after:
                raise _CutNow
        self._inlet.be(BRISK)
        self._account.complete = True

    async def _answer(self, exchange: ExchangePlan, cut: HttpCut | None) -> None:
        at_answer = cut is not None and cut.where is Where.ANSWER
        most = cut.after if cut and at_answer else None
        await self.send(exchange.status, exchange.answer, exchange.method, closes=exchange.closes, most=most)
        if cut and at_answer:
            # An end in order ends such a body in order too, however short it is.
            self._account.finished = exchange.answer.framing is Framing.CLOSE and cut.how is How.LEAVE
            raise _CutNow

    async def send(self, status: int, answer: Body, method: str, *, closes: bool, most: int | None = None) -> None:
        """Send an answer, or so many bytes of its body and not its end.

        Raises:
            Gone, Stuck: As the wire.
        """
        self._account.status = status
        bodiless = method == "HEAD" or status in (204, 304)
        framing = "" if status in (204, 304) else framing_line(answer)
        close = "Connection: close\r\n" if closes else ""
        await self._wire.send((status_line(status, self._plan, self._number) + framing + close + "\r\n").encode())
        if not bodiless:
            await send_body(self._wire, answer, self._marks, self._sent, most)
        self._account.finished = most is None

    async def _drain(self) -> None:
        """Read on until the relay's end: a close with unread bytes would be a reset, and take the answer with it."""
        while await self._inlet.some():
            pass
