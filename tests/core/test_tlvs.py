"""TLVs, and the check sum that stands in one. "2.2" is a section of HAProxy's doc/proxy-protocol.txt."""

import pytest

from tests.proxylines import tlv
from wsrelay.core import tlvs
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal

KNOWN = {2: 5, 0xEE: 300}


def refused(block: bytes, at: int = 0) -> str:
    with pytest.raises(Refusal) as caught:
        tlvs.parse(block, at, KNOWN)
    assert caught.value.reason is Reason.PROXY_HEADER
    return caught.value.detail


def test_those_that_are_asked_for_are_found_and_the_others_skipped() -> None:
    block = b"head" + tlv(0, b"") + tlv(0xEE, bytes(300)) + tlv(9, tlv(2, b"no")) + tlv(2, b"value") + tlv(9, b"") * 2
    found = tlvs.parse(block, 4, KNOWN)
    assert {kind: block[place] for kind, place in found.items()} == {2: b"value", 0xEE: bytes(300)}
    assert tlvs.parse(block, len(block), KNOWN) == {}
    assert tlvs.parse(tlv(2, b""), 0, KNOWN) == {2: slice(3, 3)}


@pytest.mark.parametrize("kind", [2, 9])
def test_a_block_that_ends_within_one_is_refused_wherever_it_ends(kind: int) -> None:
    whole = tlv(7, b"ab") + tlv(kind, b"value")
    for size in range(6, len(whole)):
        assert "ends within" in refused(whole[:size])
    # Behind the last one, or where a length is one too small, the next one begins.
    assert "ends within the type" in refused(whole + b"\0")
    assert "ends within the type" in refused(whole[:6] + b"\0\4" + whole[8:])
    assert "ends within the value" in refused(whole[:6] + b"\0\6" + whole[8:])
    assert "ends within the value" in refused(whole[:6] + b"\xff\xff" + whole[8:])


def test_one_that_is_asked_for_is_there_once_and_no_longer_than_allowed() -> None:
    assert refused(tlv(2, b"a") + tlv(9, b"") + tlv(2, b"a")) == "the PROXY header has TLV 0x02 twice (2.2)"
    assert "has TLV 0x02 twice" in refused(tlv(2, b"") + tlv(2, b""))
    assert "has TLV 0x02 with 6 bytes, and 5 are allowed" in refused(tlv(2, b"123456"))


@pytest.mark.parametrize("text", ["TLSv1.3", "Jörg Müller", "日本 株式会社", " a  b ", "", "\U0001f512", '"\\,;='])
def test_text_is_utf8(text: str) -> None:
    assert tlvs.read_text(text.encode()) == text
    assert tlvs.write_texts([(2, text)], 100) == (tlv(2, text.encode()) if text else b"")


@pytest.mark.parametrize(
    "character", ["\0", "\t", "\n", "\r", "\x1b", "\x7f", "\x85", "\x9f", "\u2028", "\u202e", "\u2066"]
)
def test_text_that_could_forge_a_line_of_a_log_is_refused_and_never_written(character: str) -> None:
    with pytest.raises(Refusal, match="controls"):
        tlvs.read_text(f"a{character}b".encode())
    assert tlvs.write_texts([(1, "a"), (2, f"a{character}"), (3, "b")], 100) == tlv(1, b"a") + tlv(3, b"b")


@pytest.mark.parametrize("value", [b"\xff", b"a\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80"])
def test_text_that_is_not_utf8_is_refused(value: bytes) -> None:
    with pytest.raises(Refusal, match="not UTF-8"):
        tlvs.read_text(value)


def test_text_is_never_cut_but_left_out() -> None:
    assert tlvs.write_texts([(1, "é" * 3), (2, "é" * 3 + "a"), (3, "\ud800")], 6) == tlv(1, "ééé".encode())


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        # RFC 3720 B.4, whose bytes stand there with the lowest first.
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (
            bytes.fromhex("01c00000 00000000 00000000 00000000 14000000 00000400 00000014 00000018")
            + bytes.fromhex("28000000 00000000 02000000 00000000"),
            0xD9963A56,
        ),
        (b"123456789", 0xE3069283),
        (b"", 0),
    ],
)
def test_the_check_sum_is_crc32c(data: bytes, expected: int) -> None:
    assert tlvs.crc32c(data) == expected
