"""Compares the access log with what both ends saw: each session once, each with one end, every byte of it counted."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from soak import naming
from soak.judge import Seen
from soak.plans import CLIENT, UPSTREAM, Conversation, Declined, Framing, Port, Probe, Refused, TunnelPlan
from soak.wires import How

Line = Mapping[str, Any]


class AccessLog:
    """The relay's access log, read on from where it was left."""

    def __init__(self, path: Path) -> None:
        """It need not be there yet."""
        self._path = path
        self._read = 0

    def new_lines(self) -> list[Line]:
        """Every line since the last call. The relay must have nothing more to say at the moment."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        self._read += len(data)
        return [json.loads(line) for line in data.splitlines()]


def by_connection(lines: Sequence[Line]) -> dict[int | None, list[Line]]:
    """The lines of each connection, in their order; those of strangers under None."""
    found: dict[int | None, list[Line]] = {}
    for line in lines:
        found.setdefault(naming.number_of(line["client"]), []).append(line)
    return found


def wrongs(seen: Seen, lines: Sequence[Line]) -> list[str]:
    """Everything that the log says wrong of one connection, a sentence each."""
    if len({line["session"] for line in lines}) > 1:
        return [f"the access log has several sessions of it: {_short(lines)}"]
    match seen.plan.what:
        case TunnelPlan() as what:
            return _tunnel(what, seen, lines)
        case Conversation() as what:
            return _conversation(what, seen, lines)
        case Refused() as what:
            wanted = {"event": "exchange", "status": what.status, "reason": what.reason, "outcome": "refused"}
            return _exactly([wanted], lines)
        case Declined() as what:
            (client,) = seen.client
            wanted = {"event": "exchange", "status": what.status, "outcome": "declined", "response_bytes": client.got}
            return _exactly([wanted], lines)
        case Probe():
            events = [line["event"] for line in lines]
            may_be = [[], ["failed"], *([["open", "close"]] if seen.plan.port is Port.TCP else [["exchange"]])]
            return [] if events in may_be else [f"the access log has of a probe: {_short(lines)}"]


def _exactly(wanted: Sequence[Mapping[str, Any]], lines: Sequence[Line]) -> list[str]:
    """The lines must be as many as wanted, and have these values."""
    fits = len(wanted) == len(lines) and all(
        line[key] == value for want, line in zip(wanted, lines, strict=True) for key, value in want.items()
    )
    return [] if fits else [f"the access log has {_short(lines)} instead of {list(wanted)}"]


def _conversation(what: Conversation, seen: Seen, lines: Sequence[Line]) -> list[str]:
    if what.cut is not None:  # of the exchange that is cut, only that there is no second line
        last = lines[len(what.exchanges) - 1 :]
        lines = lines[: len(what.exchanges) - 1]
        if len(last) > 1 or any(line["event"] not in ("exchange", "failed") for line in last):
            return [f"the access log has of the exchange that was cut: {_short(last)}"]
    wanted = []
    for number, exchange in enumerate(what.exchanges[: len(what.exchanges) - bool(what.cut)]):
        bodiless = exchange.method == "HEAD" or exchange.status in (204, 304)
        line: dict[str, Any] = {
            "event": "exchange",
            "target": f"{seen.plan.path}.{number}",
            "method": exchange.method,
            "status": exchange.status,
            "response_bytes": 0 if bodiless or exchange.answer.framing is Framing.NONE else exchange.answer.count,
        }
        if not exchange.early:
            line["request_bytes"] = exchange.body.count
        wanted.append(line)
    return _exactly(wanted, lines)


def _tunnel(what: TunnelPlan, seen: Seen, lines: Sequence[Line]) -> list[str]:
    events = [line["event"] for line in lines]
    (client,) = seen.client
    upstream = seen.upstream[0] if seen.upstream else None
    if events != ["open", "close"]:
        never_opened = what.is_cut and client.got == client.raw_got == 0 and len(lines) <= 1
        if never_opened and not {"open", "close"} & set(events):
            return []
        return [f"the access log has of a tunnel: {_short(lines)}"]
    close = lines[1]
    found = []
    for key, sent, got in (
        ("to_upstream", client.raw_sent, upstream.raw_got if upstream else 0),
        ("to_client", upstream.raw_sent if upstream else None, client.raw_got),
    ):
        # Of a tunnel that was cut, some of what the relay has read went nowhere.
        most = close[key] if sent is None else sent
        least = got if what.is_cut else most
        if not least <= close[key] <= most:
            found.append(f"the access log says {key}={close[key]}, and it is {least} to {most}")
    if (outcome := close["outcome"]) not in (allowed := _outcomes(what, seen.plan.port)):
        found.append(f"the access log says the outcome was {outcome}, and it is one of {sorted(allowed)}")
    return found


def _outcomes(what: TunnelPlan, port: Port) -> set[str]:
    """What the outcome of a tunnel may be."""
    if not what.is_cut:
        return {f"{side}-closed" for side in (CLIENT, UPSTREAM) if what.first in (side, "")}
    found = set()
    for side, how in ((CLIENT, what.abandoned or what.client.how_cut), (UPSTREAM, what.upstream.how_cut)):
        if how is None:
            continue
        found.add(f"{side}-reset")
        if how is How.RESET and side == CLIENT and port.secure:
            # OpenSSL lets pass a session ticket that cannot be sent. With it goes the kernel's only word of the reset,
            # and what is read then looks like FIN.
            found.add("client-truncated")
        if how is How.LEAVE or (how is How.TRUNCATE and port.secure):
            # Unread bytes make a reset of it; under TLS it is an end in order only behind the other side's.
            found |= {"client-closed", "upstream-closed"}
            if side == CLIENT and port.secure:
                found = (found | {"client-truncated"}) - {"client-closed"}
    return found


def _short(lines: Sequence[Line]) -> list[dict[str, Any]]:
    kept = ("event", "target", "status", "reason", "outcome", "request_bytes", "response_bytes", "to_upstream",
            "to_client", "session", "detail")  # fmt: skip
    return [{key: line[key] for key in kept if line.get(key) is not None} for line in lines]
