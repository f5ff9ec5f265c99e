import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.rewritten import FRIEND, HANDSHAKE, IDENTITY, STRANGER, asked, kept, parts, sent
from wsrelay.core import hopbyhop
from wsrelay.core.body import Chunked, Length, NoBody, UntilClose
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal


def test_a_request_goes_on_as_http_1_1_with_host_first_and_identity_last():
    head = asked(b"accept: */*", b"X-CamelCase: 1", b"USER-AGENT:curl  ", b"X-CamelCase: 2")
    written = hopbyhop.request(head, STRANGER, target=b"/x?y", host=b"app:81", framing=NoBody(), upgrade=False)
    assert parts(written) == (
        b"GET /x?y HTTP/1.1",
        [
            (b"Host", b"app:81"),
            (b"accept", b"*/*"),
            (b"X-CamelCase", b"1"),
            (b"USER-AGENT", b"curl"),
            (b"X-CamelCase", b"2"),
            *IDENTITY,
        ],
    )


def test_an_http_1_0_request_goes_on_as_http_1_1():
    written = hopbyhop.request(
        asked(start=b"GET / HTTP/1.0"), STRANGER, target=b"/", host=b"", framing=NoBody(), upgrade=False
    )
    assert written.startswith(b"GET / HTTP/1.1\r\nHost: \r\n")


@pytest.mark.parametrize(
    "line",
    [
        b"Connection: keep-alive",
        b"Keep-Alive: timeout=5",
        b"Proxy-Connection: keep-alive",
        b"TE: trailers",
        b"Trailer: X-Sum",
        b"Upgrade: h2c",
        b"Upgrade: websocket",
        b"HTTP2-Settings: AAMAAABkAAQAAP__",
        b"Proxy-Authorization: Basic eDp5",
    ],
)
def test_what_belongs_to_the_connection_does_not_cross(line):
    """HOP-05, UPG-08."""
    assert kept(asked(line)) == []


def test_h2c_never_goes_upstream():
    """UPG-08, UPG-09: split over lines, among other tokens, with its settings."""
    head = asked(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"Upgrade: x, h2", b"HTTP2-Settings: AAMA")
    assert kept(head) == []


@pytest.mark.parametrize("options", [b"X-Hop", b"x-hop", b"close, X-HOP", b"X-Hop,keep-alive,X-Other"])
def test_what_connection_names_does_not_cross(options):
    """HOP-01, HOP-02, CVE-2026-29054: in any case."""
    assert kept(asked(b"X-Hop: 1", b"Connection: " + options, b"X-Keep: 2")) == [b"x-keep"]


def test_what_any_of_several_connection_lines_names_does_not_cross():
    head = asked(b"Connection: x-one", b"X-One: 1", b"Connection: x-two", b"X-Two: 2", b"X-Three: 3")
    assert kept(head) == [b"x-three"]


def test_a_nomination_holds_on_upgrades_too():
    """HOP-03."""
    head = asked(*HANDSHAKE, b"Connection: x-hop", b"X-Hop: 1")
    fields = sent(head, upgrade=True)
    assert b"X-Hop" not in dict(fields)
    assert [value for name, value in fields if name == b"Connection"] == [b"upgrade"]


@pytest.mark.parametrize(
    "line",
    [
        b"Authorization: Bearer t",
        b"Cookie: a=b",
        b"Origin: https://evil.example",
        b"Cache-Control: no-store",
        b"Content-Type: text/plain",
        b"Content-Encoding: gzip",
        b"Content-Range: bytes 0-1/2",
        b"Content-Language: de",
        b"Content-Location: /a",
    ],
)
def test_a_client_cannot_name_away_what_concerns_everybody(line):
    """CVE-2022-1388."""
    name = line.partition(b":")[0]
    for nominated in (name, name.upper(), name.lower()):
        assert kept(asked(b"Connection: close, " + nominated, line)) == [name.lower()]


def test_a_client_cannot_name_away_what_we_add():
    """HOP-01, HOP-04, CVE-2022-31813, CVE-2024-45410."""
    names = b"Host, X-Real-IP, X-Forwarded-For, x-forwarded-proto, X-FORWARDED-HOST, Content-Length, Forwarded"
    head = asked(b"Connection: close, " + names, b"Content-Length: 5", start=b"POST / HTTP/1.1")
    assert sent(head, framing=Length(5)) == [(b"Host", b"example.com"), *IDENTITY, (b"Content-Length", b"5")]


def test_a_client_cannot_name_away_its_handshake():
    names = b"Sec-WebSocket-Key, Sec-WebSocket-Version, sec-websocket-protocol, Origin, Upgrade"
    head = asked(*HANDSHAKE, b"Sec-WebSocket-Protocol: chat", b"Connection: " + names)
    assert kept(head, upgrade=True) == [
        b"sec-websocket-key",
        b"sec-websocket-version",
        b"origin",
        b"sec-websocket-protocol",
        b"connection",
        b"upgrade",
    ]


def test_a_trusted_proxy_cannot_be_made_to_name_away_what_it_said():
    """Its own client may have chosen the Connection field that it passes on."""
    head = asked(b"X-Forwarded-Port: 443", b"Forwarded: for=192.0.2.1", b"Connection: x-forwarded-port, forwarded")
    assert kept(head, FRIEND) == [b"x-forwarded-port", b"forwarded"]


def test_a_plain_request_carries_no_trace_of_an_upgrade():
    """UPG-06, UPG-17, CVE-2026-59898."""
    assert kept(asked(*HANDSHAKE, b"Sec-WebSocket-Extensions: permessage-deflate")) == [b"origin"]


def test_an_upgrade_goes_on_with_its_handshake_and_exactly_websocket():
    head = asked(*HANDSHAKE, b"Upgrade: h2c", b"Sec-WebSocket-Protocol: chat", b"Content-Length: 0")
    assert sent(head, upgrade=True) == [
        (b"Host", b"example.com"),
        (b"Sec-WebSocket-Key", b"x3JJHMbDL1EzLkh9GBhXDw=="),
        (b"Sec-WebSocket-Version", b"13"),
        (b"Origin", b"https://example.com"),
        (b"Sec-WebSocket-Protocol", b"chat"),
        *IDENTITY,
        (b"Connection", b"upgrade"),
        (b"Upgrade", b"websocket"),
    ]


def test_an_upgrade_from_an_untrusted_client_is_cleaned_like_any_request():
    """HOP-03: the upgrade path that skipped the cleaning was a hole elsewhere."""
    head = asked(*HANDSHAKE, b"X-Forwarded-Port: 1", b"X_Real_IP: 127.0.0.1", b"Forwarded: for=127.0.0.1", b"TE: x")
    assert kept(head, upgrade=True) == [
        b"sec-websocket-key",
        b"sec-websocket-version",
        b"origin",
        b"connection",
        b"upgrade",
    ]


@pytest.mark.parametrize("upgrade", [True, False])
def test_the_origin_crosses_unchanged(upgrade):
    """UPG-24, CVE-2026-133111: a proxy that drops it disables the upstream's own check."""
    assert dict(sent(asked(*HANDSHAKE), upgrade=upgrade))[b"Origin"] == b"https://example.com"


@pytest.mark.parametrize(
    ("lines", "framing", "expected"),
    [
        ([b"Content-Length: 5"], Length(5), [(b"Content-Length", b"5")]),
        ([b"content-length: 0005"], Length(5), [(b"Content-Length", b"5")]),
        ([b"Transfer-Encoding: Chunked"], Chunked(), [(b"Transfer-Encoding", b"chunked")]),
        (
            [b"Trailer: X-A", b"transfer-encoding: chunked", b"Trailer: X-B"],
            Chunked(),
            [(b"Transfer-Encoding", b"chunked"), (b"Trailer", b"X-A, X-B")],
        ),
        ([b"Content-Length: 0"], NoBody(), [(b"Content-Length", b"0")]),
        ([], NoBody(), []),
        ([b"Content-Length: 5", b"Trailer: X-A"], Length(5), [(b"Content-Length", b"5")]),
        ([], UntilClose(), []),
    ],
)
def test_the_framing_of_a_request_is_written_anew(lines, framing, expected):
    """SMG-02, HOP-04: never copied, never twice."""
    assert sent(asked(*lines, start=b"POST / HTTP/1.1"), framing=framing)[5:] == expected


@pytest.mark.parametrize(
    ("method", "lines", "forwarded"),
    [
        (b"OPTIONS", [b"Max-Forwards: 1"], [b"0"]),
        (b"OPTIONS", [b"max-forwards: 10"], [b"9"]),
        (b"OPTIONS", [b"Max-Forwards: x"], [b"x"]),
        (b"OPTIONS", [b"Max-Forwards: 5", b"Max-Forwards: 6"], [b"5", b"6"]),
        (b"OPTIONS", [], []),
        (b"GET", [b"Max-Forwards: 5"], [b"5"]),
    ],
)
def test_an_options_counts_its_hops(method, lines, forwarded):
    head = asked(*lines, start=method + b" / HTTP/1.1")
    assert [value for name, value in sent(head) if name.lower() == b"max-forwards"] == forwarded


def test_httpoxys_field_goes_no_further():
    assert b"proxy" not in kept(asked(b"Proxy: http://evil.example"))


@pytest.mark.parametrize("lines", [[b"Expect: 100-continue"], [b"expect: 100-Continue", b"Expect: 100-continue"]])
def test_an_expectation_goes_on_once_in_its_one_spelling(lines):
    head = asked(*lines, b"Content-Length: 5", start=b"POST / HTTP/1.1")
    hopbyhop.check_expectation(head)
    assert sent(head, framing=Length(5))[5:] == [(b"Content-Length", b"5"), (b"Expect", b"100-continue")]


def test_an_expectation_from_http_1_0_is_dropped():
    """RFC 9110 10.1.1."""
    head = asked(b"Expect: 100-continue", b"Content-Length: 5", start=b"POST / HTTP/1.0")
    assert sent(head, framing=Length(5))[5:] == [(b"Content-Length", b"5")]


@pytest.mark.parametrize("upgrade", [True, False])
def test_an_expectation_without_a_body_is_dropped(upgrade):
    assert b"expect" not in kept(asked(*HANDSHAKE, b"Expect: 100-continue"), upgrade=upgrade)


@pytest.mark.parametrize("value", [b"y 100-continue", b"100-continue, y", b"200-ok", b"100-continue;q=1", b'y="a,b"'])
def test_another_expectation_is_refused(value):
    """SMG-19."""
    with pytest.raises(Refusal) as caught:
        hopbyhop.check_expectation(asked(b"Expect: " + value))
    assert caught.value.reason is Reason.EXPECTATION


@pytest.mark.parametrize("lines", [[], [b"Expect:"], [b"Expect: ,"]])
def test_an_empty_expectation_is_none(lines):
    head = asked(*lines, b"Content-Length: 5", start=b"POST / HTTP/1.1")
    hopbyhop.check_expectation(head)
    assert b"Expect" not in dict(sent(head, framing=Length(5)))


NAMES = st.sampled_from(
    b"Connection Host2 X-Real-IP x_real_ip X-Forwarded-For Forwarded Sec-WebSocket-Key TE Upgrade Keep-Alive X-A "
    b"Cookie Expect Trailer Proxy-Connection".split()
)
VALUES = st.sampled_from([b"x-a", b"close, X-Real-IP", b"websocket", b"100-continue", b"cookie", b"", b"upgrade,te"])


@given(st.lists(st.tuples(NAMES, VALUES), max_size=12), st.booleans(), st.sampled_from([STRANGER, FRIEND]))
def test_whatever_a_client_sends_our_fields_are_there_exactly_once(fields, upgrade, facts):
    names = [name.lower() for name, _ in sent(asked(*[b"%b: %b" % field for field in fields]), facts, upgrade=upgrade)]
    for ours in (b"host", b"x-real-ip", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"):
        assert names.count(ours) == 1
    assert names.count(b"connection") == names.count(b"upgrade") == int(upgrade)
    assert not {b"te", b"keep-alive", b"proxy-connection", b"x_real_ip", b"trailer"} & set(names)
