"""Keeps a number of connections going, whatever each of them does, and keeps what both ends tell of them."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from random import Random

import attrs

from bench.configurations import ROOT
from bench.running import Failed
from soak import kinds
from soak.accounts import Account, from_json
from soak.client import Targets, play
from soak.judge import Seen
from soak.plans import Plan

_LINE_BYTES = 1024 * 1024

_ANSWER_SECONDS = 60.0
"""For the upstream to come to its turn; beyond that it is dead."""

_LOOK_SECONDS = 0.1
_MOST_LAG = 0.2
"""Late by more, the load takes no new connections: each waits long enough for its turn as it is."""
_ALWAYS = 20
"""So many are going however late it is, or a soak on a busy machine would be none."""


_AFTER_PROBLEMS_SECONDS = 1.0
"""Or a relay that has died would be asked a thousand times a second."""


class UpstreamProcess:
    """The upstream's process, and the accounts it has told so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._answers: asyncio.Queue[dict[str, int]] = asyncio.Queue()
        self.ports: dict[str, list[int]] = {}
        self.accounts: list[Account] = []

    async def _start(self) -> None:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise Failed("the upstream does not start")
        self.ports = json.loads(line)["ports"]

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            if b'"left"' in line[:10]:
                self._answers.put_nowait(json.loads(line))
            else:
                self.accounts.append(from_json(line))

    async def quiet(self, patience: float) -> tuple[int, int]:
        """Wait until it has no connection; how many are left, and how many had no label since the start."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{patience}\n".encode())
        async with asyncio.timeout(patience + _ANSWER_SECONDS):
            answer = await self._answers.get()
        return answer["left"], answer["nameless"]

    def take_accounts(self) -> list[Account]:
        """What it has told since the last call."""
        taken, self.accounts = self.accounts, []
        return taken


@contextlib.asynccontextmanager
async def upstream(seed: int, patience: float, only: tuple[str, ...]) -> AsyncIterator[UpstreamProcess]:
    """Run the upstream.

    Raises:
        Failed: It does not start.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "soak.upstream", str(seed), str(patience), *only,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=ROOT, limit=_LINE_BYTES,
    )  # fmt: skip
    running = UpstreamProcess(process)
    listening = None
    try:
        await running._start()
        listening = asyncio.create_task(running._listen())
        yield running
    finally:
        assert process.stdin is not None
        process.stdin.close()  # which it takes for the end
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await process.wait()
        if process.returncode is None:
            process.kill()
        await process.wait()
        if listening is not None:
            await listening


@attrs.define
class Load:
    """Connections of one seed, in the order of their numbers."""

    seed: int
    targets: Targets
    only: tuple[str, ...] = ()
    next_number: int = 1
    seen: list[tuple[Plan, list[Account]]] = attrs.field(factory=list)
    going: int = 0
    at_once: list[int] = attrs.field(factory=list)
    """How many were going, ten times a second while more were to come."""
    lag: float = 0.0
    """How late this process is at present."""

    async def run(self, connections: int, seconds: float) -> None:
        """Keep `connections` going for so long, then let all of them come to their own end.

        Fewer where this process does not keep up: all it would find out then is that the machine is slow.
        """
        stop_at = asyncio.get_running_loop().time() + seconds
        dice = Random(self.seed)
        watching = asyncio.create_task(self._watch(stop_at))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(connections):
                    group.create_task(self._go_on(stop_at, dice.uniform(0, min(2.0, seconds / 4))))
        finally:
            watching.cancel()

    async def _watch(self, stop_at: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(_LOOK_SECONDS)
            self.lag = loop.time() - before - _LOOK_SECONDS
            if before < stop_at:
                self.at_once.append(self.going)

    async def _go_on(self, stop_at: float, wait: float) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(wait)
        while loop.time() < stop_at:
            if self.lag > _MOST_LAG and self.going >= _ALWAYS:
                await asyncio.sleep(_LOOK_SECONDS)
                continue
            number, self.next_number = self.next_number, self.next_number + 1
            self.going += 1
            await self.play(number)
            self.going -= 1
            if self.seen[-1][1][-1].problems:
                await asyncio.sleep(_AFTER_PROBLEMS_SECONDS)

    async def play(self, number: int) -> None:
        """Play one connection."""
        plan = kinds.plan(self.seed, number, self.only)
        self.seen.append((plan, await play(plan, self.targets)))

    def take_seen(self, accounts: list[Account]) -> tuple[list[Seen], list[Account]]:
        """What both ends saw of each connection since the last call, and what the upstream saw of others."""
        of_upstream: dict[int, list[Account]] = {}
        for account in accounts:
            of_upstream.setdefault(account.connection, []).append(account)
        taken, self.seen = self.seen, []
        found = [Seen(plan, client, of_upstream.pop(plan.number, [])) for plan, client in taken]
        return found, [account for left in of_upstream.values() for account in left]
