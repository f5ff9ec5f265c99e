"""The client's end of every kind of connection: connects, plays its plan, returns its accounts."""

import asyncio
import contextlib
import socket
from collections.abc import Mapping, Sequence
from random import Random

import attrs
from OpenSSL import SSL

from soak import naming
from soak.accounts import Account
from soak.conversation import ClientConversation
from soak.frames import BadFrame, Frames, Raw
from soak.marks import Check, Name, Running, Way, WrongBytes
from soak.messages import Ended, Head, Inlet, Nonsense, framing_of
from soak.plans import CLIENT, Conversation, Declined, Plan, Port, Probe, Refused, TunnelPlan
from soak.tls_wires import TlsWire
from soak.tunnel import TunnelEnd, streams
from soak.wires import PATIENCE, End, Gone, How, Stuck, Wire, patiently


@attrs.define
class Targets:
    """Where the relay listens, and what its TLS clients use. Every other connection resumes a session."""

    ports: Mapping[Port, int]
    contexts: Sequence[SSL.Context]
    """Taken in turns."""
    patience: float = PATIENCE
    _sessions: dict[tuple[Port, int], SSL.Session] = attrs.field(factory=dict)

    async def connect(self, plan: Plan, buffer: int = 0) -> Wire:
        """A connection from the plan's own address, after its TLS handshake if it has one.

        Raises:
            Gone, Stuck: There is none.
        """
        connected = await self.dial(plan, buffer)
        if not plan.port.secure:
            return Wire(connected, self.patience)
        turn = plan.number % len(self.contexts)
        dice = Random(plan.number)  # beside the plan's own, which both ends throw
        session = self._sessions.get((plan.port, turn)) if dice.random() < 0.5 else None
        wire = TlsWire(connected, self.contexts[turn], session, self.patience)
        wire.bare = dice.random() < 0.5
        try:
            await wire.shake_hands()
        except BaseException:
            wire.close()
            raise
        return wire

    async def dial(self, plan: Plan, buffer: int = 0) -> socket.socket:
        """The TCP connection alone.

        Raises:
            Gone, Stuck: There is none.
        """
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            made.setblocking(False)
            if buffer:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            made.bind((naming.source_of(plan.number), 0))
            connecting = asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", self.ports[plan.port]))
            await patiently(connecting, self.patience, "connecting")
        except OSError as error:
            made.close()
            raise Gone(f"no connection: {error}") from None
        except BaseException:
            made.close()
            raise
        return made

    def remember(self, plan: Plan, wire: Wire) -> None:
        """Keep what a later connection may resume."""
        if isinstance(wire, TlsWire) and (session := wire.session) is not None:
            self._sessions[plan.port, plan.number % len(self.contexts)] = session


async def play(plan: Plan, targets: Targets) -> list[Account]:
    """Play the client's part of a plan, whatever comes."""
    account = Account(plan.number, 0, CLIENT)
    if isinstance(plan.what, Probe):
        return [await _probe(plan, plan.what, targets, account)]
    try:
        wire = await targets.connect(plan, _buffer(plan))
    except (Gone, Stuck) as problem:
        account.problems.append(str(problem))
        return [account]
    try:
        match plan.what:
            case Conversation():
                return await ClientConversation(plan, plan.what, wire).play()
            case TunnelPlan():
                await _tunnel(plan, plan.what, wire, account)
            case Declined():
                await _declined(plan, plan.what, wire, account)
            case Refused():
                await _refused(plan, plan.what, wire, account)
    except WrongBytes as wrong:
        account.wrong = wrong.difference
    except (Gone, Stuck, Ended, Nonsense, BadFrame) as problem:
        account.problems.append(f"{type(problem).__name__}: {problem}")
    finally:
        targets.remember(plan, wire)
        wire.close()
    return [account]


def _buffer(plan: Plan) -> int:
    """The client's receive buffer, which must be set before it connects."""
    match plan.what:
        case TunnelPlan(client=part):
            return part.reading.buffer
        case Conversation(exchanges=exchanges):
            return max(exchange.answer.reading.buffer for exchange in exchanges)
    return 0


async def _probe(plan: Plan, probe: Probe, targets: Targets, account: Account) -> Account:
    try:
        wire = Wire(await targets.dial(plan))
    except (Gone, Stuck) as problem:
        account.problems.append(str(problem))
        return account
    with contextlib.suppress(Gone):
        if probe.sends:
            await wire.send(probe.sends)
            await asyncio.sleep(plan.number % 3 * 0.05)
    wire.sever(probe.how)
    return account


def _upgrade(plan: Plan) -> bytes:
    return (
        f"GET {plan.path}.0 HTTP/1.1\r\nHost: {naming.host_of(plan.number)}\r\nConnection: keep-alive, Upgrade\r\n"
        f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {naming.key_of(plan.number)}\r\n\r\n"
    ).encode()


async def _tunnel(plan: Plan, what: TunnelPlan, wire: Wire, account: Account) -> None:
    coding = Raw() if plan.port.layer4 else Frames(client=True)
    end = TunnelEnd(wire, coding, streams(plan.seed, plan.number, CLIENT), account)
    first = naming.label(plan.number) if plan.port.layer4 else _upgrade(plan)
    if plan.port.layer4:
        account.status, account.raw_sent = 101, len(first)
    first += end.next(what.early) if what.early else b""
    if plan.port.layer4:
        with contextlib.suppress(Gone):  # a plan that is cut; otherwise what is missing tells
            await wire.send(first)
        await end.play(what.client)
        return
    sending = asyncio.create_task(wire.send(first))
    try:
        if what.abandoned is not None:
            await sending
            end.note()
            wire.sever(what.abandoned)
            account.finished = what.abandoned is How.LEAVE and not wire.secure
            account.complete = False
            return
        inlet = Inlet(wire)
        head = await inlet.head()
        if head is not None and head.status == 101:
            _check_switch(plan, head, account)
            end.take(inlet.take_held())
            with contextlib.suppress(Gone):  # as above
                await sending
            await end.play(what.client)
        else:
            end.note()
            await _other_answer(head, inlet, wire, account)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


def _check_switch(plan: Plan, head: Head, account: Account) -> None:
    account.status = 101
    fields = head.fields
    if fields.get("sec-websocket-accept") != naming.accept_of(naming.key_of(plan.number)):
        account.problems.append(f"the 101 has Sec-WebSocket-Accept {fields.get('sec-websocket-accept')!r}")
    if fields.get("x-soak") != f"{plan.number}.0":
        account.problems.append(f"the 101 belongs to {fields.get('x-soak')!r}")


async def _other_answer(head: Head | None, inlet: Inlet, wire: Wire, account: Account) -> None:
    """An answer that is the relay's own: its status and reason, and an end behind it."""
    if head is not None:
        account.status = head.status
        account.reason = head.fields.get("x-wsrelay-reason", "")
        async for _ in inlet.body(*framing_of(head, request=False)):
            pass
        account.complete = True
        if await inlet.some():
            account.problems.append("bytes behind the relay's own answer")
    account.end = wire.end.value if wire.end else ""


async def _refused(plan: Plan, what: Refused, wire: Wire, account: Account) -> None:
    await wire.send(what.request.replace(b"{path}", plan.path.encode()))
    inlet = Inlet(wire)
    await _other_answer(await inlet.head(), inlet, wire, account)
    if wire.end is not End.ORDERLY:
        account.problems.append(f"the connection ended {account.end or 'not at all'} behind the relay's own answer")


async def _declined(plan: Plan, what: Declined, wire: Wire, account: Account) -> None:
    early, check = bytes(what.early), Check(Name(plan.seed, plan.number, 0, Way.DOWN))
    sending = asyncio.create_task(wire.send(_upgrade(plan) + early))
    try:
        inlet = Inlet(wire)
        head = await inlet.head()
        if head is None:
            account.problems.append("no answer to an upgrade")
            return
        account.status, account.reason = head.status, head.fields.get("x-wsrelay-reason", "")
        async for piece in inlet.body(*framing_of(head, request=False)):
            check.feed(piece)
        account.complete = True
        account.finished = True
        if await inlet.some() or wire.end is not End.ORDERLY:
            account.problems.append(f"after the answer to an upgrade: {wire.end}")
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        account.note(Running(), check)
        account.end = wire.end.value if wire.end else ""
