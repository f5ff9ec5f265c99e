import pytest

from wsrelay.core.fieldlines import (
    Blame,
    FieldLookup,
    Index,
    check_text,
    index_of,
    parse_fields,
    refuse_stray,
    split_lines,
)
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal

BLAME = Blame(Reason.BAD_BODY, Reason.HEAD_TOO_LARGE, "this")


class Lookup(FieldLookup):
    def __init__(self, index: Index) -> None:
        self._index = index


TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (b"A:b", (b"A", b"b")),
        (b"A: b", (b"A", b"b")),
        (b"A:\t b \t", (b"A", b"b")),
        (b"A:", (b"A", b"")),
        (b"A: \t ", (b"A", b"")),
        (b"A: b c\td", (b"A", b"b c\td")),
        (b"A: b:c", (b"A", b"b:c")),
        (b"A: \x80\xff", (b"A", b"\x80\xff")),
        (TOKEN + b": b", (TOKEN, b"b")),
    ],
)
def test_a_field_line_keeps_its_name_and_loses_the_whitespace_around_its_value(
    line: bytes, field: tuple[bytes, bytes]
) -> None:
    assert parse_fields([b"First: 1", line], BLAME) == ((b"First", b"1"), field)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b"", "no colon"),
        (b"A", "no colon"),
        (b": b", "no name"),
        (b"A : b", "whitespace before the colon"),
        (b"A\t: b", "whitespace before the colon"),
        (b" A: b", "leading whitespace"),
        (b"\tb", "leading whitespace"),
        (b" : b", "leading whitespace"),
        *((b"A" + bytes([byte]) + b"B: b", f"0x{byte:02x}") for byte in range(256) if byte not in TOKEN + b":"),
    ],
)
def test_a_line_that_is_no_field_is_refused_and_the_answer_says_why(line: bytes, fault: str) -> None:
    with pytest.raises(Refusal) as caught:
        parse_fields([b"First: 1", line, b"Third: 3"], BLAME)
    assert caught.value.reason is Reason.BAD_BODY
    assert fault in caught.value.detail
    assert "line 2" in caught.value.detail


def test_a_repeated_name_has_all_its_values_in_order_in_whatever_case_it_came() -> None:
    index = index_of(((b"A", b"1"), (b"b", b"2"), (b"a", b"3")))
    assert index == {b"a": (b"1", b"3"), b"b": (b"2",)}


@pytest.mark.parametrize(
    ("byte", "fault"),
    [
        (b"\n", "LF without CR"),
        (b"\r", "CR without LF"),
        *((bytes([byte]), f"0x{byte:02x}") for byte in (*range(9), 11, 12, *range(14, 32), 127)),
    ],
)
@pytest.mark.parametrize("around", [(b"", b"b"), (b"a", b""), (b"a", b"b"), (b"a\r\n", b"b"), (b"a", b"\r\nb")])
def test_a_stray_control_character_is_refused_wherever_it_stands(
    around: tuple[bytes, bytes], byte: bytes, fault: str
) -> None:
    with pytest.raises(Refusal) as caught:
        split_lines(byte.join(around), 9, BLAME)
    assert caught.value.reason is Reason.BAD_BODY
    assert fault in caught.value.detail


def test_as_many_cr_as_lf_are_refused_if_they_do_not_stand_in_pairs() -> None:
    with pytest.raises(Refusal):
        split_lines(b"a\rb\nc\r\nd", 9, BLAME)


def test_every_other_byte_may_stand_in_a_line() -> None:
    text = bytes([9, *range(32, 127), *range(128, 256)])
    check_text(text, BLAME)
    assert split_lines(text + b"\r\n" + text, 1, BLAME) == [text, text]


def test_a_control_character_in_a_single_line_is_refused() -> None:
    with pytest.raises(Refusal) as caught:
        check_text(b"a: \x00", BLAME)
    assert caught.value.reason is Reason.BAD_BODY


def test_the_number_of_lines_after_the_first_is_bounded() -> None:
    assert len(split_lines(b"start\r\na\r\nb", 2, BLAME)) == 3
    with pytest.raises(Refusal) as caught:
        split_lines(b"start\r\na\r\nb\r\nc", 2, BLAME)
    assert caught.value.reason is Reason.HEAD_TOO_LARGE


def test_a_field_is_looked_up_by_its_name_in_lower_case() -> None:
    lookup = Lookup(index_of(((b"Accept", b"b"), (b"accept", b""), (b"ACCEPT", b"C,, D ,\t"), (b"Empty", b""))))
    assert lookup.value(b"accept") == b"b"
    assert lookup.values(b"accept") == (b"b", b"", b"C,, D ,\t")
    assert lookup.tokens(b"accept") == (b"b", b"c", b"d")
    assert lookup.value(b"empty") == b""
    assert lookup.tokens(b"empty") == ()
    assert lookup.value(b"absent") is None
    assert lookup.values(b"absent") == lookup.tokens(b"absent") == ()


@pytest.mark.parametrize(
    ("value", "tokens"),
    [
        (b"Upgrade", (b"upgrade",)),
        (b" \tUpgrade\t ", (b"upgrade",)),
        (b" ", ()),
        (b",", ()),
        (b"keep-alive, Upgrade", (b"keep-alive", b"upgrade")),
    ],
)
def test_one_line_of_a_list_is_read_as_several_are(value: bytes, tokens: tuple[bytes, ...]) -> None:
    assert Lookup(index_of(((b"Connection", value),))).tokens(b"connection") == tokens
    assert Lookup(index_of(((b"Connection", value), (b"Connection", b"")))).tokens(b"connection") == tokens


def test_names_that_differ_have_one_value_each() -> None:
    assert index_of(((b"A", b"1"), (b"B", b"2"))) == {b"a": (b"1",), b"b": (b"2",)}


def test_a_cr_at_the_end_may_still_get_its_lf() -> None:
    refuse_stray(b"a\r\nb\r", 0, BLAME)
    with pytest.raises(Refusal):
        refuse_stray(b"a\r\nb\rc", 0, BLAME)
