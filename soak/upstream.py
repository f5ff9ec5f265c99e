"""The upstream, a process of its own: finds out which connection it has before it, plays its part, tells what it saw.

`python -m soak.upstream SEED PATIENCE [KIND ...]` prints its ports as JSON, then an account a line. A number on its
standard input asks for the moment when no connection is left, and waits for so many seconds; its end is the process's.
"""

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import Mapping

from soak import kinds, naming
from soak.accounts import Account
from soak.answering import Answering, status_line
from soak.frames import Frames, Raw
from soak.marks import WrongBytes
from soak.messages import Ended, Head, Inlet, Nonsense, framing_of
from soak.plans import SMALL_BUFFER, UPSTREAM, Conversation, Declined, Plan, Refused, TunnelPlan
from soak.tunnel import TunnelEnd, streams
from soak.wires import Gone, Stuck, Wire

SERVERS = {"one": (0, SMALL_BUFFER), "two": (0,), "raw": (0, SMALL_BUFFER), "raw-tls": (0, SMALL_BUFFER)}
"""The servers of each upstream group, by how much they receive ahead; 0 leaves the kernel's choice. `dead` has one that
refuses. A buffer is made small before connections are there: a window that shrinks later makes the sender probe it, at
ever longer intervals."""

STRAY = -1
"""The exchange of an account that tells of something that belongs nowhere."""


class Strange(Exception):
    """What came does not belong here; the text says what, as a stray account."""


class Upstream:
    """All upstream servers of a soak."""

    def __init__(self, seed: int, patience: float, only: tuple[str, ...]) -> None:
        """Nothing listens yet."""
        self._seed = seed
        self._patience = patience
        self._only = only
        self._connections: set[asyncio.Task[None]] = set()
        self._nameless = 0

    async def run(self) -> None:
        """Serve until standard input ends."""
        with contextlib.ExitStack() as held:
            ports: dict[str, list[int]] = {}
            accepting = []
            for group, buffers in SERVERS.items():
                for buffer in buffers:
                    listening = held.enter_context(socket.socket())
                    if buffer:
                        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
                    listening.bind(("127.0.0.1", 0))
                    listening.listen(1024)
                    listening.setblocking(False)
                    ports.setdefault(group, []).append(listening.getsockname()[1])
                    accepting.append(asyncio.create_task(self._accept(listening, group)))
            dead = held.enter_context(socket.socket())  # bound, so that nobody else gets it, and not listening
            dead.bind(("127.0.0.1", 0))
            ports["dead"] = [dead.getsockname()[1]]
            _say({"ports": ports})
            await self._obey()
            for task in [*accepting, *self._connections]:
                task.cancel()
            await asyncio.gather(*accepting, *self._connections, return_exceptions=True)

    async def _obey(self) -> None:
        lines = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        while line := await lines.readline():
            if self._connections:
                await asyncio.wait(self._connections, timeout=float(line))
            _say({"left": len(self._connections), "nameless": self._nameless})

    async def _accept(self, listening: socket.socket, group: str) -> None:
        while True:
            connected, _ = await asyncio.get_running_loop().sock_accept(listening)
            task = asyncio.create_task(self._serve(Wire(connected, self._patience), group))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

    async def _serve(self, wire: Wire, group: str) -> None:
        try:
            await (self._raw(wire, group) if group.startswith("raw") else self._http(wire, group))
        except (Strange, Nonsense, Stuck) as problem:
            _tell(Account(0, STRAY, UPSTREAM, problems=[f"on a connection to {group}: {problem}"]))
        except (Ended, Gone):
            pass  # a head that was cut
        finally:
            wire.close()

    # Layer 4.

    async def _raw(self, wire: Wire, group: str) -> None:
        label = b""
        while len(label) < naming.LABEL_BYTES:
            more = await wire.read(naming.LABEL_BYTES - len(label))
            if not more:
                if label:
                    raise Strange(f"half a label: {label!r}")
                self._nameless += 1
                return
            label += more
        number = naming.labelled(label)
        plan = number is not None and kinds.plan(self._seed, number, self._only)
        if not plan or not isinstance(plan.what, TunnelPlan) or plan.group != group:
            raise Strange(f"a label that belongs elsewhere: {label!r}")
        account = Account(plan.number, 0, UPSTREAM, status=101, raw_got=len(label))
        end = TunnelEnd(wire, Raw(), streams(self._seed, plan.number, UPSTREAM), account)
        await asyncio.sleep(plan.what.delay)
        if plan.what.together:
            with contextlib.suppress(Gone):
                await wire.send(end.next(plan.what.together))
        await _played(end, plan.what, account)

    # Layer 7.

    async def _http(self, wire: Wire, group: str) -> None:
        inlet = Inlet(wire)
        owner: int | None = None
        while (head := await self._next_head(wire, inlet)) is not None:
            plan, exchange = self._plan_of(head, group)
            if owner not in (None, plan.number):
                raise Strange(f"a connection of {owner} was used for {plan}")
            owner = plan.number
            account = Account(plan.number, exchange, UPSTREAM)
            try:
                _check_identity(plan, head, account)
                if not await self._answer(plan, exchange, head, inlet, wire, account):
                    return
            except WrongBytes as wrong:
                account.wrong = wrong.difference
                return
            except (Nonsense, Stuck) as problem:
                account.problems.append(f"{type(problem).__name__}: {problem}")
                return
            finally:
                account.end = wire.end.value if wire.end else ""
                if not isinstance(plan.what, TunnelPlan):
                    _tell(account)

    async def _next_head(self, wire: Wire, inlet: Inlet) -> Head | None:
        """The client decides for how long its connection is kept; one that outlives it is found in the end."""
        wire.patience = None
        head = await inlet.head()
        wire.patience = self._patience
        return head

    def _plan_of(self, head: Head, group: str) -> tuple[Plan, int]:
        target = head.start.split(" ")[1]
        _, asked, rest = (*target.split("/"), "", "")[:3]
        number, _, exchange = rest.partition(".")
        if not (number.isdigit() and exchange.isdigit()):
            raise Strange(f"a request that nobody sent: {head.start!r}")
        plan = kinds.plan(self._seed, int(number), self._only)
        if asked != group or plan.group != group:
            raise Strange(f"{plan} belongs to {plan.group}: {head.start!r}")
        return plan, int(exchange)

    async def _answer(self, plan: Plan, exchange: int, head: Head, inlet: Inlet, wire: Wire, account: Account) -> bool:
        """Play the upstream's part of one request; whether the connection goes on."""
        match plan.what:
            case Conversation():
                return await Answering(plan, exchange, account, inlet, wire).play(plan.what, head)
            case TunnelPlan():
                await self._switch(plan, plan.what, head, inlet, wire, account)
            case Declined():
                await Answering(plan, exchange, account, inlet, wire).decline(plan.what)
            case Refused(reaches_upstream=True):
                with contextlib.suppress(Ended):
                    async for _ in inlet.body(*framing_of(head, request=True)):
                        pass
                    account.complete = True
            case _:
                raise Strange(f"{plan} should not have got here: {head.start!r}")
        return False

    async def _switch(
        self, plan: Plan, what: TunnelPlan, head: Head, inlet: Inlet, wire: Wire, account: Account
    ) -> None:
        account.status = 101
        key = head.fields.get("sec-websocket-key", "")
        if key != naming.key_of(plan.number):
            account.problems.append(f"an upgrade with the key {key!r}")
        await asyncio.sleep(what.delay)
        if inlet.take_held() or wire.has_bytes():
            account.problems.append("bytes of the client before the 101")
        end = TunnelEnd(wire, Frames(client=False), streams(self._seed, plan.number, UPSTREAM), account)
        answer = status_line(101, plan, 0) + (
            f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {naming.accept_of(key)}\r\n\r\n"
        )
        with contextlib.suppress(Gone):
            await wire.send(answer.encode() + (end.next(what.together) if what.together else b""))
        await _played(end, what, account)


async def _played(end: TunnelEnd, what: TunnelPlan, account: Account) -> None:
    try:
        await end.play(what.upstream)
    finally:
        _tell(account)


def _check_identity(plan: Plan, head: Head, account: Account) -> None:
    """Whether the relay says of the client what is true of it."""
    wanted = {
        "host": naming.host_of(plan.number),
        "x-forwarded-for": naming.source_of(plan.number),
        "x-forwarded-proto": "https" if plan.port.secure else "http",
    }
    if isinstance(plan.what, Refused):
        del wanted["host"]
    account.problems += [
        f"{name}: {head.fields.get(name)!r} instead of {value!r}"
        for name, value in wanted.items()
        if head.fields.get(name) != value
    ]


def _say(what: Mapping[str, object]) -> None:
    print(json.dumps(what), flush=True)


def _tell(account: Account) -> None:
    print(account.to_json(), flush=True)


def main(arguments: list[str]) -> None:
    """Run it."""
    seed, patience, *only = arguments
    asyncio.run(Upstream(int(seed), float(patience), tuple(only)).run())


if __name__ == "__main__":
    main(sys.argv[1:])
