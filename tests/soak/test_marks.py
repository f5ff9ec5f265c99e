import pytest

from soak.marks import SHOWN, Check, Difference, Marks, Name, Way, WrongBytes, explain

NAME = Name(seed=7, connection=12, exchange=0, way=Way.UP)
OTHER = Name(seed=7, connection=13, exchange=0, way=Way.UP)
STREAM = Marks(NAME).take(300_000)


def difference(data: bytes) -> Difference:
    check = Check(NAME)
    with pytest.raises(WrongBytes) as caught:
        check.feed(data)
    assert check.count == caught.value.difference.offset
    return caught.value.difference


def test_a_stream_is_the_same_however_it_is_taken() -> None:
    marks = Marks(NAME)
    pieces = [marks.take(count) for count in (0, 1, 15, 16, 17, 70_000, 1)]
    assert b"".join(pieces) == STREAM[: sum(map(len, pieces))]
    # More than the zeros at hand go through in one call.
    assert Marks(NAME).take(len(STREAM)) == STREAM


@pytest.mark.parametrize("offset", [0, 1, 15, 16, 17, 4096, 262_144, 299_990])
def test_any_place_of_a_stream_can_be_had_without_what_is_before(offset: int) -> None:
    assert Marks(NAME, offset).take(10) == STREAM[offset : offset + 10]


@pytest.mark.parametrize(
    "name",
    [
        Name(seed=8, connection=12, exchange=0, way=Way.UP),
        OTHER,
        Name(seed=7, connection=12, exchange=1, way=Way.UP),
        Name(seed=7, connection=12, exchange=0, way=Way.DOWN),
    ],
)
def test_no_two_streams_are_alike(name: Name) -> None:
    assert Marks(name).take(16) != STREAM[:16]


def test_the_right_bytes_pass_in_any_pieces_and_are_counted() -> None:
    check, whole = Check(NAME), Check(NAME)
    for start in range(0, 5000, 7):
        check.feed(STREAM[start : start + 7])
    whole.feed(STREAM[: check.count])
    assert check.count == 5005
    assert check.digest() == whole.digest()
    whole.feed(STREAM[5005:5006])
    assert check.digest() != whole.digest()


@pytest.mark.parametrize("at", [0, 1, 1000, 65_535])
def test_one_changed_byte_is_found_where_it_is(at: int) -> None:
    changed = bytes([STREAM[at] ^ 1])
    found = difference(STREAM[:at] + changed + STREAM[at + 1 : at + 200])
    assert (found.offset, found.expected[:2], found.found[:2]) == (
        at,
        STREAM[at : at + 2],
        changed + STREAM[at + 1 : at + 2],
    )
    assert len(found.expected) == len(found.found) == SHOWN
    assert explain(NAME, found, []) == "1 bytes are changed, and the stream goes on in its place"


def test_lost_bytes_are_told_by_what_comes_behind_them() -> None:
    assert explain(NAME, difference(STREAM[:5000] + STREAM[5003:6000]), []) == (
        "3 bytes are missing, and the stream goes on behind them"
    )


def test_doubled_bytes_are_told_by_what_comes_behind_them() -> None:
    assert explain(NAME, difference(STREAM[:5000] + STREAM[4000:6000]), []) == (
        "1000 bytes are there twice, or were put in"
    )


def test_two_pieces_in_the_wrong_order_are_found() -> None:
    found = difference(STREAM[:100] + STREAM[200:300] + STREAM[100:200])
    assert found.offset == 100
    assert explain(NAME, found, []).startswith("100 bytes are missing")


def test_foreign_bytes_are_told_by_their_owner() -> None:
    foreign = Marks(OTHER).take(9000)
    found = difference(STREAM[:5000] + foreign[8000:8100])
    third = Name(seed=7, connection=14, exchange=0, way=Way.UP)
    assert explain(NAME, found, [(third, 100_000), (OTHER, 9000)]) == (
        "from the 1. on they are 13.0 up, from its byte 8000 on"
    )


def test_bytes_of_no_stream_are_said_to_be_that() -> None:
    found = difference(STREAM[:10] + bytes(100))
    assert explain(NAME, found, [(OTHER, 9000)]) == "they belong to no stream that was looked at"


def test_too_few_bytes_to_search_for_are_no_error() -> None:
    assert explain(NAME, difference(STREAM[:10] + b"??"), []) == "they belong to no stream that was looked at"
