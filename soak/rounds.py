"""A whole soak of one pump: warm-up, rounds of load, after each silence and judgement; and what it all came to."""

import asyncio
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from OpenSSL import SSL

from bench import measure
from soak import judge, logged, relay, resources
from soak.accounts import Account
from soak.client import Targets
from soak.judge import Seen
from soak.load import Load, UpstreamProcess, upstream
from soak.logged import AccessLog, Line, by_connection
from soak.marks import Name, Way, explain
from soak.plans import CLIENT, UPSTREAM, Port, Probe, TunnelPlan
from soak.relay import Relay
from soak.results import Done, KindDone, Wanted
from soak.upstream import STRAY

_TOLD = 5
"""Violations of a round that are told at once."""

EXPLAINED = 5
"""So many wrong bytes are looked for in other streams, which costs a second or so each."""

Ports = Mapping[Port, int]


async def soak(pump: str, wanted: Wanted, say: Callable[[str], None]) -> Done:
    """Run it.

    Raises:
        Failed: Something does not start.
    """
    done = Done(pump, wanted)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        async with upstream(wanted.seed, wanted.patience, wanted.only) as ends:
            with relay.running(pump, Path(name), ends.ports) as under_test:
                done.pump = under_test.pump
                await Soak(wanted, under_test, ends, under_test.ports, done, say).run()
                done.violate("the relay's end", under_test.stop(wanted.patience))
                done.violate("the relay's output", under_test.alarms())
    done.seconds = time.monotonic() - began
    return done


def client_contexts(certificate: Path) -> list[SSL.Context]:
    """What the load's TLS clients use, TLS 1.3 and 1.2; they trust this certificate alone."""
    contexts = []
    for newest in (SSL.TLS1_3_VERSION, SSL.TLS1_3_VERSION, SSL.TLS1_2_VERSION):
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(newest)
        context.load_verify_locations(str(certificate))
        context.set_verify(SSL.VERIFY_PEER)
        contexts.append(context)
    contexts[0].set_alpn_protos([b"http/1.1"])
    return contexts


class Soak:
    """One soak under way."""

    def __init__(
        self,
        wanted: Wanted,
        under_test: Relay,
        ends: UpstreamProcess,
        ports: Ports,
        done: Done,
        say: Callable[[str], None],
    ) -> None:
        """Nothing has connected yet."""
        self._wanted = wanted
        self._relay = under_test
        self._upstream = ends
        self.load = Load(
            wanted.seed, Targets(ports, client_contexts(under_test.certificate), wanted.patience), wanted.only
        )
        self._log = AccessLog(under_test.access_log)
        self._log.new_lines()  # of those who were here before
        self.done = done
        self._say = say
        measure.wait_until_quiet(under_test.pid)
        done.holdings.append(resources.holding(under_test.pid))

    async def run(self) -> None:
        """All rounds."""
        for number, seconds in enumerate(self._wanted.rounds):
            begun, told = self.load.next_number, len(self.done.violations)
            await self._one_round(seconds)
            self.done.connections.append(self.load.next_number - begun)
            what = f"round {number}" if number else "warm-up"
            now = self.done.holdings[-1]
            self._say(
                f"{self.done.pump}: {what}: {self.done.connections[-1]} connections, "
                f"{now.pss_bytes / 1e6:.1f} MB, {now.count} descriptors, {len(self.done.violations)} violations"
            )
            for violation in self.done.violations[told : told + _TOLD]:
                self._say(f"  {violation.what}: {violation.text}")
            if self._relay.process.poll() is not None:
                return  # `stop` will say so
        _, warm, *later = self.done.holdings
        self.done.violate("the relay", resources.grown(warm, later[-1], sum(self.done.connections[1:])))

    async def _one_round(self, seconds: float) -> None:
        # A reload or a rotation of logs is nothing that a session may notice, so one comes inside each round.
        hanging_up = asyncio.get_running_loop().call_later(seconds / 2, self._relay.hang_up)
        try:
            await self.load.run(self._wanted.connections, seconds)
        finally:
            hanging_up.cancel()
        done, looks = self.done, self.load.at_once
        done.at_once = sum(looks) / max(len(looks), 1)
        await self.judge()

    async def judge(self) -> None:
        """Silence, then the law: whatever is wrong by now goes into `done`."""
        done = self.done
        if self._relay.process.poll() is None:
            # In a thread: the upstream tells all the while, and waits where nobody listens.
            now, left_over = await asyncio.to_thread(
                resources.settled, self._relay.pid, done.holdings[0], self._relay.pipes, self._wanted.patience
            )
            done.holdings.append(now)
            done.violate("the relay", left_over)
        left, done.nameless = await self._upstream.quiet(self._wanted.patience)
        if left:
            done.violate("the upstream", [f"{left} connections are still open"])
        seen, strays = self.load.take_seen(self._upstream.take_accounts())
        done.violate("a stranger at the upstream", [_told(stray) for stray in strays])
        lines = by_connection(self._log.new_lines())
        done.violate("a stranger in the access log", [str(line) for line in lines.pop(None, [])])
        for one in seen:
            _count(done, one, of_log := lines.pop(one.plan.number, []))
            wrong = judge.wrongs(one)
            done.violate(one.plan, wrong or logged.wrongs(one, of_log))
            self._explain(one, seen)
        done.violate("the access log", [f"a session of connection {n} after its time: {lines[n]}" for n in lines])
        if done.nameless > done.may_be_nameless:
            done.violate(
                "layer 4", [f"{done.nameless} connections without a label, at most {done.may_be_nameless} may"]
            )

    def _explain(self, one: Seen, seen: Sequence[Seen]) -> None:
        for account in (*one.client, *one.upstream):
            explained = sum("wrong bytes:" in violation.text for violation in self.done.violations)
            if account.wrong is not None and explained < EXPLAINED:
                seed, way = self._wanted.seed, Way.UP if account.side == UPSTREAM else Way.DOWN
                name = Name(seed, account.connection, account.exchange, way)
                text = explain(name, account.wrong, _streams(seed, one, seen, 2 * self._wanted.connections))
                self.done.violate(one.plan, [f"wrong bytes: {text}"])


def _streams(seed: int, one: Seen, seen: Sequence[Seen], near: int) -> list[tuple[Name, int]]:
    """The streams of the connections that lived at about the same time, and of this one's other direction."""
    found = []
    for each in seen:
        if abs(each.plan.number - one.plan.number) <= near:
            for side, way in ((CLIENT, Way.UP), (UPSTREAM, Way.DOWN)):
                exchanges = {account.exchange for account in each.client}
                length = judge.length_of(each.plan, side)
                found += [(Name(seed, each.plan.number, exchange, way), length) for exchange in exchanges]
    return found


def _count(done: Done, one: Seen, lines: Sequence[Line]) -> None:
    kind = done.kinds.setdefault(f"{one.plan.kind} {one.plan.port.value}", KindDone())
    kind.connections += 1
    kind.exchanges += len(one.upstream)
    kind.bytes_up += sum(account.got for account in one.upstream)
    kind.bytes_down += sum(account.got for account in one.client)
    outcomes = [line["outcome"] for line in lines if line.get("outcome")]
    kind.ends[outcomes[-1] if outcomes else "served" if lines else "silent"] += 1
    what = one.plan.what
    may_be = isinstance(what, Probe) or (isinstance(what, TunnelPlan) and what.client.how_cut is not None)
    done.may_be_nameless += one.plan.port.layer4 and may_be


def _told(stray: Account) -> str:
    return "; ".join(stray.problems) if stray.exchange == STRAY else f"it tells of what nobody played: {stray}"
