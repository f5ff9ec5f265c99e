"""A check that nothing can fail proves nothing: each rule is taken out of wsrelay once, and a seed has to notice."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from fuzz import seeds
from fuzz.targets import load
from wsrelay.core import (
    body,
    chunked,
    clienthello,
    fieldlines,
    forwarded,
    head,
    hopbyhop,
    paths,
    proxytext,
    server_name,
    tlvs,
    upgrade,
)
from wsrelay.core.upgrade import Switched
from wsrelay.net import exchange
from wsrelay.net.legs import Leg
from wsrelay.net.own_upstream import OwnUpstream
from wsrelay.net.stream import Stream


def nothing(*given: Any) -> tuple[()]:
    return ()


def reread(read: Callable[..., Any]) -> Callable[..., Any]:
    """A collector that searches what it has gathered from the last byte on only, and so misses an end that was cut."""

    def take(collector: Any, data: bytes) -> Any:
        if collector._gathered and len(data) == 1:
            collector._gathered += data
            return None
        return read(collector, data)

    return take


SABOTAGES = {
    "a blank may stand in a field's name": ("head", fieldlines, "TCHAR", fieldlines.TCHAR + b" "),
    "a head that is cut has no end": ("head", head._Collector, "take", reread(head._Collector.take)),
    "HTTP/2.0 is HTTP/1.1": ("head", head, "_MINORS", {b"HTTP/1.1": 1, b"HTTP/1.0": 0, b"HTTP/2.0": 1}),
    "anything may follow a chunk's size": ("body", chunked, "_SIZE_LINE", re.compile(rb"([0-9A-Fa-f]{1,16}).*")),
    "every trailer passes": ("body", body, "safe_trailers", lambda fields: fields),
    "a body's length may be anything": ("body", body, "_length", lambda lengths, reason: 3),
    "every version of WebSocket is right": ("upgrade", upgrade, "_check_version", nothing),
    "every 101 is right": ("upgrade", upgrade, "check_reply", lambda offer, reply: Switched()),
    "nothing can be named away": ("hopbyhop", hopbyhop, "_nominated", lambda head: frozenset()),
    "aliases of identity fields pass": ("hopbyhop", hopbyhop, "_FAMILIES", (b"sec-websocket-",)),
    "framing is copied": ("hopbyhop", hopbyhop, "_framing_lines", nothing),
    "a path has one reading": ("routing", paths, "_others", nothing),
    "two proxies are not walked past": ("forwarded", forwarded, "_MAX_HOPS", 1),
    "who is trusted does not matter": ("forwarded", forwarded, "real_ip", lambda head, facts: "192.0.2.99"),
    "a name may be anything": ("clienthello", server_name, "_NAME", re.compile(rb"(.+)()", re.DOTALL)),
    "bytes may stand behind every vector": ("clienthello", clienthello._Vectors, "end", nothing),
    "a hello is ten records at most": ("clienthello", clienthello, "_MOST_RECORDS", 10),
    "zeros may stand before a port": ("proxyline", proxytext, "_PORT", re.compile(rb"[0-9]{1,5}")),
    "an IPv4-mapped address is another one": ("proxyline", proxytext, "unmapped", lambda address: address),
    "a check sum is always zero": ("proxyline", tlvs, "crc32c", lambda data: 0),
    "no text is dangerous": ("proxyline", tlvs, "_UNSAFE", re.compile("(?!)")),
    "a tunnel opens on every answer": ("exchange", upgrade, "check_reply", lambda offer, reply: Switched()),
    "a broken answer ends with FIN": ("exchange", Leg, "abort", Leg.close),
    "what was read ahead is lost": ("exchange", Stream, "unread", nothing),
    "an upstream stays open": ("exchange", OwnUpstream, "drop", nothing),
    "interim answers have no bound": ("exchange", exchange, "_MOST_INTERIM", 40),
    "surplus bytes are the next answer": ("exchange", Stream, "reusable", True),
}


@pytest.mark.parametrize("what", SABOTAGES)
def test_a_rule_that_is_gone_is_noticed(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, place, attribute, broken = SABOTAGES[what]
    check = load(name).check
    monkeypatch.setattr(place, attribute, broken)
    for seed in seeds.inputs(load(name)):
        if not passes(check, seed):
            monkeypatch.undo()
            if passes(check, seed):  # so it was the sabotage
                return
            monkeypatch.setattr(place, attribute, broken)
    pytest.fail("no seed has noticed")


def passes(check: Callable[[bytes], None], seed: bytes) -> bool:
    try:
        check(seed)
    except Exception:
        return False
    return True
