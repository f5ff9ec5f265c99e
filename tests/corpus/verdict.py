"""What was seen of a case, however it was run, and the comparison with what the case states."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from tests.corpus.cases import Case
from tests.corpus.independent import Answer, Arrived

_REASON = b"x-wsrelay-reason"
OLD = "requests that went up in another version than HTTP/1.1"


@attrs.frozen
class Seen:
    """Everything that can be seen of a case from outside. None where this way of running does not show it."""

    finals: tuple[Answer, ...]
    interims: tuple[int, ...]
    received: bytes
    """All that the client got."""
    arrived: tuple[Arrived, ...]
    reached: bytes
    """All that upstreams got."""
    faults: tuple[str, ...] = ()
    """What the independent parser objected to, on either side."""
    end: str | None = None
    """How the client's connection ended, if the relay closed it by itself: `fin` or `reset`; `open` if it did not."""
    after: tuple[int, ...] | None = None
    """The statuses that a further request on the same connection got."""
    tunnel: str | None = None
    """What was wrong with the tunnel; empty for nothing."""
    log: tuple[str, ...] | None = None
    """The access log's lines as written."""

    @property
    def complete(self) -> int:
        """How many requests reached upstreams completely."""
        return sum(each.complete for each in self.arrived)


def complaints(case: Case, seen: Seen) -> list[str]:
    """Where what was seen is not what the case states; empty if all is right."""
    return [
        *seen.faults,
        *_answers(case, seen),
        *_requests(case, seen),
        *_bytes(case, seen),
        *_connection(case, seen),
        *_log(case, seen),
    ]


def _differ(what: str, expected: object, found: object) -> Iterator[str]:
    if expected != found:
        yield f"{what}: expected {expected!r}, found {found!r}"


def _answers(case: Case, seen: Seen) -> Iterator[str]:
    yield from _differ("status", case.status, tuple(each.status for each in seen.finals))
    if case.interim is not None:
        yield from _differ("interim", case.interim, seen.interims)
    reasons = [each.value(_REASON) for each in seen.finals]
    last = reasons.pop() if reasons else None
    yield from _differ("reason", case.reason, last.decode() if last is not None else None)
    yield from _differ("refusals before the last answer", [], [each for each in reasons if each is not None])
    whole = [each.complete for each in seen.finals]
    yield from _differ("complete answers", [True] * (len(whole) - 1) + [not case.broken] if whole else [], whole)


def _requests(case: Case, seen: Seen) -> Iterator[str]:
    yield from _differ(OLD, [], [each.target for each in seen.arrived if each.version != b"1.1"])
    if case.needed_requests is not None:
        yield from _differ("requests", case.needed_requests, seen.complete)
    if case.cut is not None:
        yield from _differ("requests cut short", case.cut, len(seen.arrived) - seen.complete)
    if not case.describes_request:
        return
    if not seen.arrived:
        yield "no request reached an upstream"
        return
    first, last = seen.arrived[0], seen.arrived[-1]
    if case.target is not None:
        yield from _differ("target", case.target.encode("latin-1"), first.target)
    if case.group is not None:
        yield from _differ("group", case.group, last.group)
    for name, values in case.fields.items():
        yield from _differ(f"field {name}", values, first.values(name.encode("latin-1")))
    for name, values in case.trailers.items():
        found = tuple(value for each, value in first.trailers if each == name.encode("latin-1"))
        yield from _differ(f"trailer {name}", values, found)
    if case.body is not None:
        yield from _differ("body", case.body, first.body)


def _bytes(case: Case, seen: Seen) -> Iterator[str]:
    sides: Sequence[tuple[str, bytes, tuple[bytes, ...], tuple[bytes, ...], tuple[bytes, ...]]] = (
        ("upstream", seen.reached, case.upstream_has, case.upstream_lacks, case.upstream_lacks_anycase),
        ("client", seen.received, case.client_has, case.client_lacks, case.client_lacks_anycase),
    )
    for side, data, has, lacks, lacks_anycase in sides:
        yield from (f"the {side} did not get {each!r}" for each in has if each not in data)
        yield from (f"the {side} got {each!r}" for each in lacks if each in data)
        folded = data.lower()
        yield from (f"the {side} got {each!r} in some case" for each in lacks_anycase if each.lower() in folded)


def _connection(case: Case, seen: Seen) -> Iterator[str]:
    if seen.end is not None and case.needs_close is not None:
        orderly = case.needs_close and case.status and not case.broken
        allowed = {"fin"} if orderly else {"fin", "reset"} if case.needs_close else {"open"}
        if seen.end not in allowed:
            yield f"the connection's end: expected {' or '.join(sorted(allowed))}, found {seen.end}"
    if seen.after is not None and case.closes is False:
        yield from _differ("a further request", (200,), seen.after)
    if seen.tunnel:
        yield f"tunnel: {seen.tunnel}"


def _log(case: Case, seen: Seen) -> Iterator[str]:
    if seen.log is None:
        return
    for text in case.log_lacks:
        yield from (f"the access log has {text!r}: {line}" for line in seen.log if text in line)
    if case.log:
        lines: list[dict[str, Any]] = [json.loads(line) for line in seen.log]
        if not any(all(line.get(key) == value for key, value in case.log.items()) for line in lines):
            yield f"no line of the access log has {case.log}: {lines}"


@attrs.frozen
class Verdict:
    """What must be the same however the bytes were cut."""

    statuses: tuple[int, ...]
    reasons: tuple[bytes | None, ...]
    whole: tuple[bool, ...]
    arrived: tuple[Arrived, ...]
    received: bytes

    @classmethod
    def of(cls, seen: Seen) -> "Verdict":
        """Of what was seen."""
        return cls(
            tuple(each.status for each in seen.finals),
            tuple(each.value(b"x-wsrelay-reason") for each in seen.finals),
            tuple(each.complete for each in seen.finals),
            seen.arrived,
            b"".join(each.body for each in seen.finals if each.value(b"x-wsrelay-reason") is None),
        )
