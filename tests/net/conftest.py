"""Servers that do not serve, for those who dial."""

import socket
from collections.abc import Iterator

import pytest

from tests.harness import RawServer, raw_server


@pytest.fixture
def full() -> Iterator[RawServer]:
    """A server whose queue is full: the kernel answers no further connect, neither yes nor no."""
    with raw_server(backlog=0) as server, socket.create_connection(server.listening.getsockname()):
        yield server


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nobody listens: bound, so that nobody else takes it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"
