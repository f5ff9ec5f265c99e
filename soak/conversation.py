"""The client's end of a plain HTTP connection: its requests go out while their answers come in."""

import asyncio

from soak import naming
from soak.accounts import Account
from soak.marks import Check, Marks, Name, Running, Way, WrongBytes
from soak.messages import Ended, Head, Inlet, Nonsense, framing_line, framing_of, send_body, trickle
from soak.plans import CLIENT, Conversation, Ending, ExchangePlan, Framing, Plan, Where
from soak.wires import End, Gone, How, Stuck, Wire


class _CutNow(Exception):
    """The plan's cut is due."""


class _Enough(Exception):
    """No more requests, whatever the plan says: the last answer is here."""


class _Exchange:
    """One exchange as the client sees it."""

    def __init__(self, plan: Plan, number: int) -> None:
        self.account = Account(plan.number, number, CLIENT)
        self.marks = Marks(Name(plan.seed, plan.number, number, Way.UP))
        self.sent = Running()
        self.check = Check(Name(plan.seed, plan.number, number, Way.DOWN))
        self.may_send_body = asyncio.Event()
        self.answered = asyncio.Event()


class ClientConversation:
    """One connection."""

    def __init__(self, plan: Plan, what: Conversation, wire: Wire) -> None:
        """The wire is closed by whoever made it."""
        self._plan = plan
        self._what = what
        self._wire = wire
        self._exchanges = [_Exchange(plan, number) for number in range(len(what.exchanges))]
        self._now = 0

    async def play(self) -> list[Account]:
        """Play it; an account for each exchange that was begun."""
        problems: list[str] = []
        cut = answered = False
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ask())
                group.create_task(self._hear())
        except* _CutNow:
            cut = True
        except* _Enough:
            answered = True
        except* WrongBytes as wrongs:
            wrong = next(wrong for wrong in wrongs.exceptions if isinstance(wrong, WrongBytes))
            self._exchanges[self._now].account.wrong = wrong.difference
        except* (Stuck, Nonsense) as found:
            problems += [f"{type(problem).__name__}: {problem}" for problem in found.exceptions]
        except* (Gone, Ended):
            pass  # the account says that it is not complete
        if cut:  # at the very moment of the last answer both are true
            await self._sever()
        elif answered:
            await self._end()
        begun = self._exchanges[: self._now + 1]
        for each in begun:
            each.account.note(each.sent, each.check)
        begun[-1].account.problems += problems
        begun[-1].account.end = self._wire.end.value if self._wire.end else ""
        return [each.account for each in begun]

    # Requests.

    async def _ask(self) -> None:
        try:
            for number, exchange in enumerate(self._what.exchanges):
                if number and not self._what.pipelined:
                    await self._exchanges[number - 1].answered.wait()
                await asyncio.sleep(exchange.think)
                await self._request(exchange, self._exchanges[number])
            if self._what.ending is Ending.HALF_CLOSE:
                await self._wire.finish()
        except Gone:
            pass  # an answer may still be there to be read; if not, that is what counts

    async def _request(self, exchange: ExchangePlan, one: _Exchange) -> None:
        last = one is self._exchanges[-1]
        cut = self._what.cut if last and self._what.cut and self._what.cut.side == CLIENT else None
        head = self._head(exchange, one.account.exchange, last=last)
        if cut and cut.where is Where.HEAD:
            head = head[: 1 + cut.after % (len(head) - 1)]
        await trickle(self._wire, head, self._what.trickle)
        if cut and cut.where is Where.HEAD:
            raise _CutNow
        if exchange.expects:
            await one.may_send_body.wait()
        at_body = cut is not None and cut.where is Where.BODY
        await send_body(self._wire, exchange.body, one.marks, one.sent, cut.after if cut and at_body else None)
        if at_body:
            raise _CutNow
        one.account.finished = True
        if cut and cut.where is Where.WAITING:
            await asyncio.sleep(exchange.delay / 2)
            raise _CutNow

    def _head(self, exchange: ExchangePlan, number: int, *, last: bool) -> bytes:
        plan, what = self._plan, self._what
        lines = [
            f"{exchange.method} {plan.path}.{number} HTTP/1.{what.minor}\r\n",
            f"Host: {naming.host_of(plan.number)}\r\n",
            framing_line(exchange.body),
            "Expect: 100-continue\r\n" if exchange.expects else "",
            "Connection: close\r\n" if last and what.ending is Ending.CLOSE and what.minor else "",
            "\r\n",
        ]
        return "".join(lines).encode()

    # Answers.

    async def _hear(self) -> None:
        inlet = Inlet(self._wire)
        for number, exchange in enumerate(self._what.exchanges):
            self._now = number
            one = self._exchanges[number]
            inlet.be(exchange.answer.reading)
            head = await self._final_head(inlet, exchange, one)
            one.account.status = head.status
            one.account.reason = head.fields.get("x-wsrelay-reason", "")
            bodiless = exchange.method == "HEAD" or head.status in (204, 304)
            framing, count = framing_of(head, request=False, bodiless=bodiless)
            if one.account.reason:
                async for _ in inlet.body(framing, count):
                    pass
                raise _Enough
            self._check_head(head, one.account)
            await self._answer(inlet, framing, count, one)
            one.account.complete = True
            one.answered.set()
            if exchange.early:
                raise _Enough
        if inlet.take_held():
            one.account.problems.append("bytes behind the last answer")
        raise _Enough

    async def _final_head(self, inlet: Inlet, exchange: ExchangePlan, one: _Exchange) -> Head:
        interim = 0
        while (head := await inlet.head()) is not None:
            if head.status == 100 and exchange.expects:
                one.may_send_body.set()
            elif head.status == 103:
                interim += 1
            else:
                if interim != exchange.interim and self._what.minor and head.status == exchange.status:
                    one.account.problems.append(f"{interim} interim answers instead of {exchange.interim}")
                return head
        raise Ended("before an answer")

    def _check_head(self, head: Head, account: Account) -> None:
        found, expected = head.fields.get("x-soak"), f"{self._plan.number}.{account.exchange}"
        if found != expected:
            account.problems.append(f"the answer belongs to {found!r}: {head.start}")
        more = account.exchange + 1 < len(self._what.exchanges)
        if more and head.closes:
            account.problems.append("the relay closes although more requests are to come")

    async def _answer(self, inlet: Inlet, framing: Framing, count: int, one: _Exchange) -> None:
        cut = self._what.cut
        after = None
        if cut and cut.side == CLIENT and cut.where is Where.ANSWER and one is self._exchanges[-1]:
            after = cut.after
        async for piece in inlet.body(framing, count):
            one.check.feed(piece)
            if after is not None and one.check.count >= after:
                raise _CutNow

    # The end.

    async def _sever(self) -> None:
        assert self._what.cut is not None
        how = self._what.cut.how
        self._wire.sever(how)
        if how is How.TRUNCATE and self._wire.secure:
            while await self._wire.read():
                pass

    async def _end(self) -> None:
        account = self._exchanges[self._now].account
        ending = self._what.ending
        if ending is Ending.RESET:
            self._wire.sever(How.RESET)
            return
        try:
            if ending is Ending.FIN:
                await self._wire.finish()
            more = await self._wire.read()
        except (Gone, Stuck) as problem:
            account.problems.append(f"after the last answer: {problem}")
            return
        if more or self._wire.end is not End.ORDERLY:
            account.problems.append(f"after the last answer: {len(more)} bytes, {self._wire.end}")
