"""Lines of version 1. "2.1" is the section of HAProxy's doc/proxy-protocol.txt on them."""

import pytest

from wsrelay.core import proxyline, proxytext
from wsrelay.core.proxytext import Ends
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal

FULL = "2001:db8:1111:2222:3333:4444:5555:6666"
LONGEST = 107

# Each with the ends that it names.
LINES: list[tuple[bytes, Ends | None]] = [
    (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", ("0.0.0.0", "0.0.0.0", 0, 0)),
    (b"PROXY TCP4 192.0.2.1 198.51.100.20 123 5678\r\n", ("192.0.2.1", "198.51.100.20", 123, 5678)),
    (
        b"PROXY TCP4 255.255.255.255 249.199.99.10 65535 65529\r\n",
        ("255.255.255.255", "249.199.99.10", 65535, 65529),
    ),
    (b"PROXY TCP6 :: :: 0 0\r\n", ("::", "::", 0, 0)),
    (b"PROXY TCP6 2001:Db8::1 2001:DB8::a 123 443\r\n", ("2001:db8::1", "2001:db8::a", 123, 443)),
    (b"PROXY TCP6 2001:0db8:0:0:1:0:0:1 ::1 10000 9\r\n", ("2001:db8::1:0:0:1", "::1", 10000, 9)),
    (b"PROXY TCP6 1:2:3:4:5:6:7:: ::2:3:4:5:6:7:8 1 2\r\n", ("1:2:3:4:5:6:7:0", "0:2:3:4:5:6:7:8", 1, 2)),
    (b"PROXY TCP6 " + f"{FULL} {FULL} 65535 65535\r\n".encode(), (FULL, FULL, 65535, 65535)),
    # What HAProxy writes where one end is IPv4; the other one may be anything.
    (b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 1 2\r\n", ("192.0.2.1", "2001:db8::1", 1, 2)),
    (b"PROXY TCP6 ::FFFF:c000:201 ::ffff:10.0.0.1 1 2\r\n", ("192.0.2.1", "10.0.0.1", 1, 2)),
    (b"PROXY TCP6 64:ff9b::192.0.2.1 1:2:3:4:5:6:1.2.3.4 1 2\r\n", ("64:ff9b::c000:201", "1:2:3:4:5:6:102:304", 1, 2)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN \r\n", None),
    (b"PROXY UNKNOWN 1 2  3 4 evil \t\x00\xff\r\n", None),
    (b"PROXY UNKNOWN TCP4 192.0.2.1 192.0.2.2 1 2\r\n", None),
    (b"PROXY UNKNOWN " + b"f" * (LONGEST - 16) + b"\r\n", None),
]  # fmt: skip


@pytest.mark.parametrize(("line", "ends"), LINES)
@pytest.mark.parametrize(
    "behind", [b"", b"\r\n", b"GET / HTTP/1.1\r\n\r\n", b"PROXY UNKNOWN\r\n", b"\x16\x03\x01" * 999]
)
def test_a_line_is_read_and_nothing_behind_it(line: bytes, ends: Ends | None, behind: bytes) -> None:
    assert proxytext.read(line + behind) == (ends, len(line))


def test_the_longest_line_is_of_107_bytes() -> None:
    assert max(len(line) for line, _ in LINES) == LONGEST
    line = b"PROXY UNKNOWN " + b"f" * (LONGEST - 15)
    assert proxytext.read(line[: LONGEST - 2] + b"\r") == LONGEST
    for end in (b"\r\n", b"\r", b"", b"\n"):
        assert "within 107" in refused(line + end) or end == b"\n"
    # 106 bytes are enough to know, for CRLF has no room any more; 2000 are no other case.
    assert proxytext.read(line[: LONGEST - 2]) == LONGEST
    assert "within 107" in refused(line[: LONGEST - 1])
    assert "within 107" in refused(b"PROXY UNKNOWN " + b"f" * 2000)


def refused(data: bytes) -> str:
    with pytest.raises(Refusal) as caught:
        proxyline.read(data)
    assert caught.value.reason is Reason.PROXY_HEADER
    assert caught.value.detail.isascii()
    assert caught.value.detail.isprintable()
    return caught.value.detail


# A `|` stands where the bytes before it could still become a line, and with the next one no more.
@pytest.mark.parametrize(
    "line",
    [
        b"|GET / HTTP/1.1\r\n",
        b"|proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"| PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"P|OST / HTTP/1.1\r\n",
        b"PROXY|\tTCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY|\r\n",
        b"PROXY | TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY |\r\n",
        b"PROXY U|DP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY |tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP|5 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4|\r\n",
        b"PROXY TCP4 |\r\n",
        b"PROXY TCP4 | 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 |evil,6.6.6.6 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 0|1.2.3.4 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 1.2.3.0|4 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 25|6.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.100|0 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2| 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.| 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.|.0.2 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1|.5 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1|,6.6.6.6 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1|/24 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192|:0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 |::1 ::1 1 2\r\n",
        b"PROXY TCP4 1|\xd9\xa1.1.1.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 | 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1|\t192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2|\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 |\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 |-1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 |+1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 |http 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 0|1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 6553|6 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1|_0 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 |\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1|\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 9999|9999\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 0|0\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2| \r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2| 3\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2|\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2|\x00\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r|\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r|GET / HTTP/1.1\r\n",
        b"PROXY TCP4 192.0.2.1|\r 192.0.2.2 1 2\r\n",
        b"PROXY TCP6 |[::1] ::1 1 2\r\n",
        b"PROXY TCP6 fe80::1|%eth0 ::1 1 2\r\n",
        b"PROXY TCP6 ::1|/64 ::1 1 2\r\n",
        b"PROXY TCP6 1:2:3:4:5:6:7:8:9| ::1 1 2\r\n",
        b"PROXY TCP6 1::2::3| ::1 1 2\r\n",
        b"PROXY TCP6 :::1| ::1 1 2\r\n",
        b"PROXY TCP6 2001:0db8|0::1 ::1 1 2\r\n",
        b"PROXY TCP6 1:2:3:4:5:6:7| ::1 1 2\r\n",
        b"PROXY TCP6 ::ffff:192.0.2.256| ::1 1 2\r\n",
        b"PROXY TCP6 ::ffff:192.0.2.01| ::1 1 2\r\n",
        b"PROXY TCP6 192.0.2.1| 192.0.2.2 1 2\r\n",
        b"PROXY TCP6 2001:db8::1 192.0.2.1| 1 2\r\n",
        b"PROXY TCP6 ::1 ::|g 1 2\r\n",
        b"PROXY UNKNOWN|X\r\n",
        b"PROXY UNKNOWN|\n",
        b"PROXY UNKNOWN\r|GET / HTTP/1.1\r\n",
        b"PROXY UNKNOWN 1 2|\nGET / HTTP/1.1\r\n",
        b"PROXY UNKNOWN 1 2\r|3\r\n",
        b"PROXY UNKNOWN\r|\r\n",
    ],
)
def test_what_is_no_line_is_refused_at_the_first_byte_that_shows_it(line: bytes) -> None:
    good, bad = line.split(b"|")
    for size in range(len(good) + 1):
        assert isinstance(proxyline.read(good[:size]), int)
    for size in range(1, len(bad) + 1):
        refused(good + bad[:size])


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"GET / HTTP/1.1\r\n", "begins with HTTP"),
        (b"G", "begins with HTTP"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "begins with HTTP"),
        (b"\x16\x03\x01\x02\x00\x01", "begins with TLS"),
        (b"\x16", "begins with TLS"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "begins with something else"),
        (b"\r\nGET / HTTP/1.1\r\n", "begins with something else"),
        (b"\x00", "begins with something else"),
        (b"PROXY UDP4 192.0.2.1", "another protocol than TCP4"),
        (b"PROXY TCP4 192.0.2.300", "an address that is none of TCP4"),
        (b"PROXY TCP6 192.0.2.3 ", "an address that is none of TCP6"),
        (b"PROXY TCP6 ::1 ::1 070", "a port"),
        (b"PROXY TCP6 ::1 ::1\r\n", "two addresses and two ports"),
    ],
)
def test_a_refusal_says_what_came(data: bytes, what: str) -> None:
    assert what in refused(data)


def test_the_shortest_line_that_can_come_is_waited_for() -> None:
    needed = {b"P": 15, b"PROXY": 15, b"PROXY ": 15, b"PROXY U": 15, b"PROXY UNKNOWN\r": 15, b"PROXY UNKNOWN ": 16}
    needed |= {b"PROXY T": 22, b"PROXY TCP6": 22, b"PROXY TCP4": 32, b"PROXY TCP4 1.2.3.4 1.2.3.4 10000 ": 36}
    assert {data: proxytext.read(data) for data in needed} == needed


@pytest.mark.parametrize(
    ("ends", "line"),
    [
        (("192.0.2.1", "192.0.2.2", 0, 65535), b"PROXY TCP4 192.0.2.1 192.0.2.2 0 65535\r\n"),
        (("2001:db8::1", "::ffff:192.0.2.2", 1, 2), b"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.2 1 2\r\n"),
        (None, b"PROXY UNKNOWN\r\n"),
    ],
)
def test_a_line_is_written_as_others_read_it(ends: Ends | None, line: bytes) -> None:
    assert proxytext.write(ends) == line
