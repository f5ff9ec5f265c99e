import pytest

from soak.frames import BadFrame, Frames

PAYLOADS = [b"", b"x", b"y" * 125, b"z" * 126, b"a" * 65_535, b"b" * 65_536]


@pytest.mark.parametrize("client", [True, False], ids=["client", "upstream"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000, 1 << 20])
def test_payload_crosses_whole_however_its_bytes_are_cut(client: bool, size: int) -> None:
    sender, receiver = Frames(client=client), Frames(client=not client)
    data = b"".join(sender.encode(payload) for payload in PAYLOADS) + sender.last()
    if size == 1:
        data = data[:1500]  # byte by byte takes its time
    got = b"".join(receiver.feed(data[start : start + size]) for start in range(0, len(data), size))
    assert b"".join(PAYLOADS).startswith(got)
    assert size == 1 or got == b"".join(PAYLOADS)


def test_a_frame_is_what_rfc_6455_5_2_says() -> None:
    assert Frames(client=False).encode(b"abc") == b"\x82\x03abc"
    assert Frames(client=True).encode(b"abc") == b"\x82\x83\0\0\0\0abc"
    assert Frames(client=False).encode(bytes(300))[:4] == b"\x82\x7e\x01\x2c"
    assert Frames(client=False).last() == b"\x88\x02\x03\xe8"


@pytest.mark.parametrize(
    "data",
    [
        b"\x81\x03abc",  # text, which nobody sends
        b"\x82\x83\0\0\0\0abc",  # masked, by an upstream
        b"\x88\x02\x03\xe8\x82\x01x",  # more, behind the close frame
    ],
)
def test_a_frame_that_nobody_sent_is_found(data: bytes) -> None:
    with pytest.raises(BadFrame):
        Frames(client=True).feed(data)


def test_an_unmasked_frame_of_a_client_is_found() -> None:
    with pytest.raises(BadFrame):
        Frames(client=False).feed(b"\x82\x03abc")


def test_a_mask_that_is_not_zero_is_found() -> None:
    with pytest.raises(BadFrame):
        Frames(client=False).feed(b"\x82\x83\0\0\0\1abc")
