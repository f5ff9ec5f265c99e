"""What is no PROXY line where one has to come: refused as soon as that is certain, and nothing of it goes upstream.

"PROXY 2.1" is a section of HAProxy's doc/proxy-protocol.txt. `test_proxy_in` says which public test files' cases
stand here.
"""

import re
from pathlib import Path

import pytest

from tests.harness import HandTime, RawServer, Relay, Wire
from tests.net.proxied import GET, PROXY, Start, edge, layer4
from tests.proxylines import (
    LONGEST_V1,
    SIGNATURE,
    SSL,
    addresses,
    header,
    local,
    ssl_tlv,
    tlv,
    v1,
    v2,
    with_checksum,
)  # fmt: skip
from tests.tls import Authority

HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
LINE = b"PROXY TCP4 192.0.2.1 192.0.2.2 123 5678\r\n"


def changed(old: bytes, new: bytes) -> bytes:
    assert LINE.count(old) == 1
    return LINE.replace(old, new)


BAD = {
    # Something else.
    "http": GET,
    "http of another method": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "tls": HELLO,
    "ssh": b"SSH-2.0-OpenSSH_9.7\r\n",
    "one byte": b"G",
    "nul": b"\0",
    "empty line": b"\r\n" + LINE,
    # Version 1, PROXY 2.1.
    "bogus word": changed(b"PROXY", b"BOGUS"),
    "small letters": changed(b"PROXY", b"proxy"),
    "invalid family": b"PROXY INVALID\r\n",
    "udp": changed(b"TCP4", b"UDP4"),
    "tcp5": changed(b"TCP4", b"TCP5"),
    "family alone": b"PROXY TCP4\r\n",
    "nothing else": b"PROXY \r\n",
    "no blank": b"PROXYTCP4 192.0.2.1 192.0.2.2 123 5678\r\n",
    "two blanks": changed(b"TCP4 ", b"TCP4  "),
    "tab": changed(b"TCP4 ", b"TCP4\t"),
    "blank at the end": changed(b"5678", b"5678 "),
    "a field less": changed(b" 5678", b""),
    "a field more": changed(b"5678", b"5678 9"),
    "bare lf": changed(b"\r\n", b"\n"),
    "bare cr": changed(b"\r\n", b"\r"),
    "cr inside": changed(b"5678", b"56\r78"),
    "nul inside": changed(b"5678", b"5678\0"),
    "not ascii": changed(b"192.0.2.1 ", "192.0.2.¹ ".encode()),
    "other digits": changed(b"5678", "٥٦٧٨".encode()),
    "ipv6 in tcp4": changed(b"192.0.2.1 ", b"2001:db8::1 "),
    "ipv4 in tcp6": changed(b"TCP4", b"TCP6"),
    "one ipv4 in tcp6": b"PROXY TCP6 2001:db8::1 192.0.2.2 123 5678\r\n",
    "scope": b"PROXY TCP6 fe80::1%eth0 fe80::2 123 5678\r\n",
    "brackets": b"PROXY TCP6 [2001:db8::1] [2001:db8::2] 123 5678\r\n",
    "two gaps": b"PROXY TCP6 2001::db8::1 ::2 123 5678\r\n",
    "list of addresses": changed(b"192.0.2.1 ", b"evil,6.6.6.6 "),
    "name": changed(b"192.0.2.1 ", b"localhost "),
    "octet too large": changed(b"192.0.2.1 ", b"192.0.2.256 "),
    "octet with a zero": changed(b"192.0.2.1 ", b"192.0.2.01 "),
    "three octets": changed(b"192.0.2.1 ", b"192.0.1 "),
    "hexadecimal octets": changed(b"192.0.2.1 ", b"0xc0.0.2.1 "),
    "port too large": changed(b"5678", b"65536"),
    "port much too large": changed(b"5678", b"99999999"),
    "port with a zero": changed(b"5678", b"05678"),
    "port with a sign": changed(b"5678", b"+5678"),
    "port below zero": changed(b" 123 ", b" -1 "),
    "port as a word": changed(b"5678", b"https"),
    "port with an underscore": changed(b"5678", b"5_678"),
    "too long": b"PROXY UNKNOWN ".ljust(LONGEST_V1 - 1, b"x") + b"\r\n",
    "endless": b"PROXY UNKNOWN ".ljust(2000, b"x"),
    # Version 2, PROXY 2.2.
    "signature cut": SIGNATURE[:-1] + b"\r" + v2()[12:],
    "signature without its nul": SIGNATURE.replace(b"\0", b"") + v2()[12:],
    # PROXY 2.2 has receivers drop it, and HAProxy does; nginx serves it, and proxy_protocol2.t asks for that.
    "an unassigned family": header(0x21, 0x41, b"\x01\x02\x03\x04"),
    "version 1 in binary": header(0x11, 0x11, addresses()),
    "version 3": header(0x31, 0x11, addresses()),
    "version 0": header(0x01, 0x11, addresses()),
    "command 2": header(0x22, 0x11, addresses()),
    "command 15": header(0x2F, 0x11, addresses()),
    "tcp4 too short": header(0x21, 0x11, addresses()[:11]),
    "tcp4 empty": header(0x21, 0x11, b""),
    "tcp6 too short": header(0x21, 0x21, addresses("::1", "::2")[:35]),
    "tcp4 as tcp6": header(0x21, 0x21, addresses()),
    "tlv beyond the block": header(0x21, 0x11, addresses() + b"\x02\x00\x0a12345"),
    "tlv that leaves a byte": header(0x21, 0x11, addresses() + b"\x02\x00\x041234" + b"\x00"),
    "half a tlv": header(0x21, 0x11, addresses() + b"\x02\x00"),
    "ssl too short": v2(tlv(SSL, b"\x01\0\0\0")),
    "ssl empty": v2(tlv(SSL, b"")),
    "ssl with half a tlv": v2(ssl_tlv(b"\x21\x00\x07TLSv")),
    "wrong checksum": with_checksum(v2(), wrong=1),
    "checksum of three bytes": v2(tlv(0x03, b"abc")),
}


def refused(client: Wire, running: Relay, reason: str, status: int) -> bytes:
    """The readable answer of a plain listener, which the log has too."""
    answer = client.ending()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"\r\nX-Wsrelay-Reason: %b" % reason.encode() in head
    assert b"\r\nConnection: close" in head
    assert b"\n%b: " % reason.encode() in body
    line = running.next_line()
    assert (line["event"], line["status"], line["reason"], line["outcome"]) == ("exchange", status, reason, "refused")
    assert line["detail"]
    assert line["real_ip"] in (PROXY, None)
    assert line["session"].encode() in body
    return answer


@pytest.mark.parametrize("sent", BAD.values(), ids=BAD)
def test_what_is_no_line_is_refused_at_once_in_words_and_nothing_goes_upstream(
    relay: Start, upstream: RawServer, sent: bytes
) -> None:
    running = relay(edge(upstream), HandTime())  # whose time never passes: no deadline is needed
    client = running.connect()
    client.send(sent if len(sent) == 1 else sent + GET)
    refused(client, running, "proxy-header", 400)
    running.settle()
    assert upstream.nobody_came()


@pytest.mark.parametrize("name", ["http", "bogus word", "port too large", "command 2", "tlv beyond the block"])
def test_it_is_refused_byte_by_byte_too(relay: Start, upstream: RawServer, name: str) -> None:
    running = relay(edge(upstream), HandTime())
    client = running.connect()
    for byte in BAD[name]:
        client.send(bytes([byte]))
        running.settle()
    refused(client, running, "proxy-header", 400)
    assert upstream.nobody_came()


def test_the_answer_does_not_repeat_what_came(relay: Start, upstream: RawServer) -> None:
    running = relay(edge(upstream))
    client = running.connect()
    client.send(b"PROXY TCP4 <script>\x1b[31m 192.0.2.2 123 5678\r\n")
    answer = refused(client, running, "proxy-header", 400)
    assert b"script" not in answer
    assert re.fullmatch(rb"[\n\r -~]+", answer)


@pytest.mark.parametrize("length", [4081, 65535])
def test_a_block_that_announces_more_than_any_proxy_sends_is_not_waited_for(
    relay: Start, upstream: RawServer, length: int
) -> None:
    """As nginx, which takes 4096 bytes in all: no client makes us keep 64 KiB for it."""
    running = relay(edge(upstream), HandTime())
    client = running.connect()
    client.send(header(0x21, 0x11, addresses(), length=length))
    refused(client, running, "proxy-header", 400)
    assert upstream.nobody_came()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def text_of(way: str, upstream: RawServer, authority: Authority) -> str:
    tls = f"tls = [ {authority.issue('localhost').toml} ]\n"
    match way:
        case "https":
            return edge(upstream, listen=tls)
        case "layer 4":
            return layer4(upstream)
        case "layer 4 with our tls":
            return layer4(upstream, listen=tls)
        case "layer 4 by name":
            return layer4(upstream, listen='sni = { "localhost" = "app" }\n')
        case _:
            raise AssertionError(way)


WAYS = ["https", "layer 4", "layer 4 with our tls", "layer 4 by name"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["http", "tls", "bogus word", "bare lf", "version 3", "tlv beyond the block"])
def test_where_no_http_is_certain_the_connection_is_closed_without_a_word(
    relay: Start, upstream: RawServer, authority: Authority, way: str, name: str
) -> None:
    running = relay(text_of(way, upstream, authority), HandTime())
    client = running.connect()
    client.send(BAD[name])
    assert client.ending() == b""
    line = running.next_line()
    assert (line["event"], line["reason"], line["outcome"]) == ("failed", "proxy-header", "refused")
    running.settle()
    assert upstream.nobody_came()


@pytest.mark.parametrize("way", WAYS)
def test_who_is_not_trusted_gets_nothing_from_any_of_them(
    relay: Start, upstream: RawServer, authority: Authority, way: str
) -> None:
    running = relay(text_of(way, upstream, authority), HandTime())
    client = running.connect(source="127.0.0.3")
    assert client.ending() == b""
    line = running.next_line()
    assert (line["event"], line["reason"]) == ("failed", "proxy-untrusted")
    assert upstream.nobody_came()


@pytest.mark.parametrize("line", [v1(), local()])
def test_a_request_that_is_broken_behind_a_good_line_is_not_the_lines_fault(
    relay: Start, upstream: RawServer, line: bytes
) -> None:
    running = relay(edge(upstream))
    client = running.connect()
    client.send(line + b"GET /\r\n\r\n")
    assert b"X-Wsrelay-Reason: malformed-head\r\n" in client.ending()
    assert upstream.nobody_came()
