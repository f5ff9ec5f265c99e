"""Server names, as a ClientHello or a PROXY line says them."""

import pytest

from wsrelay.core import server_name


@pytest.mark.parametrize(
    ("said", "read"),
    [
        (b"example.com", "example.com"),
        (b"EXAMPLE.Com.", "example.com"),
        (b"a_b.example", "a_b.example"),
        (b"xn--bcher-kva.example", "xn--bcher-kva.example"),
        (b"localhost", "localhost"),
        (b"192.0.2.1", "192.0.2.1"),
        (b"2001:DB8::1", "2001:db8::1"),
        (b"a" * 255, "a" * 255),
    ],
)
def test_a_name_is_read_in_small_letters_and_without_a_dot_at_its_end(said: bytes, read: str) -> None:
    assert server_name.read(said) == read


@pytest.mark.parametrize(
    "said",
    [b"", b".", b"..", b".a", b"a..b", b"a.b..", b"a b", b"a\0", b"a\n", b"*.a", b"a:1", b"[::1]", b"\xff", b"a" * 256],
)
def test_anything_else_is_none(said: bytes) -> None:
    assert server_name.read(said) is None
