"""Every kind of end is told from every other: the law of the soak stands on this."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
import trustme
from OpenSSL import SSL

from soak.wires import End, Gone, How, Stuck, Wire
from tests.soak.pairs import plain_pair, tls_pair

LONG = bytes(range(256)) * 40_000
"""10 MB: more than the kernel takes for a reader that does not read."""


def run(playing: Coroutine[Any, Any, None]) -> None:
    asyncio.run(playing)


async def rest(wire: Wire) -> bytes:
    data = b""
    while piece := await wire.read():
        data += piece
    assert await wire.read() == b""
    return data


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[SSL.Context, SSL.Context]:
    folder: Path = tmp_path_factory.mktemp("certificate")
    issued = trustme.CA().issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(folder / "chain.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    client, server = SSL.Context(SSL.TLS_CLIENT_METHOD), SSL.Context(SSL.TLS_SERVER_METHOD)
    server.use_certificate_chain_file(str(folder / "chain.pem"))
    server.use_privatekey_file(str(folder / "key.pem"))
    return client, server


def test_an_end_in_order_comes_behind_every_byte() -> None:
    async def play() -> None:
        async with plain_pair() as (one, other):
            sending = asyncio.create_task(one.send(LONG))
            await other.send(b"meanwhile")
            assert await one.read() == b"meanwhile"
            got = b""
            while len(got) < len(LONG):
                got += await other.read()
            await sending
            await one.finish()
            assert (got, await other.read(), other.end) == (LONG, b"", End.ORDERLY)
            await other.send(b"last words")
            assert await one.read() == b"last words"

    run(play())


def test_a_reset_is_no_end_in_order() -> None:
    async def play() -> None:
        async with plain_pair() as (one, other):
            await one.send(b"last words")
            one.sever(How.RESET)
            assert await rest(other) in (b"last words", b"")
            assert other.end is End.RESET

    run(play())


def test_a_reset_that_was_told_to_who_sends_is_none_for_who_reads_either() -> None:
    """The kernel tells it once; afterwards the connection looks ended."""

    async def play() -> None:
        async with plain_pair() as (one, other):
            one.sever(How.RESET)
            with pytest.raises(Gone):
                await other.send(LONG)
            assert await other.read() == b""
            assert other.end is End.RESET

    run(play())


def test_a_reset_that_was_told_to_who_peeks_is_none_for_who_reads_either() -> None:
    async def play() -> None:
        async with plain_pair() as (one, other):
            await one.send(b"x")
            while not other.has_bytes():
                await asyncio.sleep(0)
            assert await other.read() == b"x"
            assert not other.has_bytes()
            one.sever(How.RESET)
            while not other.has_bytes() and not other._failed:
                await asyncio.sleep(0)
            assert await other.read() == b""
            assert other.end is End.RESET

    run(play())


@pytest.mark.parametrize(("unread", "end"), [(False, End.ORDERLY), (True, End.RESET)])
def test_who_leaves_with_bytes_unread_resets(unread: bool, end: End) -> None:
    async def play() -> None:
        async with plain_pair() as (one, other):
            if unread:
                await other.send(b"unread")
                while not one.has_bytes():
                    await asyncio.sleep(0)
            one.sever(How.LEAVE)
            assert await other.read() == b""
            assert other.end is end

    run(play())


def test_who_waits_in_vain_is_stuck() -> None:
    async def play() -> None:
        async with plain_pair(patience=0.05) as (one, other):
            with pytest.raises(Stuck, match="reading"):
                await one.read()
            with pytest.raises(Stuck, match="sending"):
                await other.send(LONG)

    run(play())


def test_nobody_is_stuck_while_the_other_direction_moves() -> None:
    async def play() -> None:
        async with plain_pair(patience=1.0) as (one, other):
            reading = asyncio.create_task(one.read())
            for _ in range(13):
                await asyncio.sleep(0.1)
                await one.send(b"x")
            await other.send(b"at last")
            assert await reading == b"at last"

    run(play())


@pytest.mark.parametrize("bare", [True, False])
def test_under_tls_close_notify_is_an_end_in_order_and_reading_goes_on(
    contexts: tuple[SSL.Context, SSL.Context], bare: bool
) -> None:
    async def play() -> None:
        async with tls_pair(*contexts) as (one, other):
            one.bare = bare
            await one.send(b"last words")
            await one.finish()
            assert (await rest(other), other.end) == (b"last words", End.ORDERLY)
            sending = asyncio.create_task(other.send(LONG))
            got = b""
            while len(got) < len(LONG):
                got += await one.read()
            await sending
            await other.finish()
            assert (got, await rest(one), one.end) == (LONG, b"", End.ORDERLY)

    run(play())


@pytest.mark.parametrize(
    ("how", "end"), [(How.TRUNCATE, End.TRUNCATED), (How.LEAVE, End.TRUNCATED), (How.RESET, End.RESET)]
)
def test_under_tls_every_other_end_is_none_in_order(
    contexts: tuple[SSL.Context, SSL.Context], how: How, end: End
) -> None:
    async def play() -> None:
        async with tls_pair(*contexts) as (one, other):
            await other.send(b"x")  # what a server says behind its handshake is read, or leaving would be a reset
            assert await one.read() == b"x"
            one.sever(how)
            assert (await rest(other), other.end) == (b"", end)

    run(play())


def test_under_tls_a_changed_record_is_a_broken_end(contexts: tuple[SSL.Context, SSL.Context]) -> None:
    async def play() -> None:
        async with tls_pair(*contexts) as (one, other):
            one.socket.send(b"\x17\x03\x03\x00\x20" + bytes(32))
            assert (await rest(other), other.end) == (b"", End.BROKEN)

    run(play())
