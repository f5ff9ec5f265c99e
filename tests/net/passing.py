"""A relay whose listener looks at ClientHellos, and the upstreams that it may pass connections on to."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import attrs
import pytest

from tests.harness import RawServer, Relay, raw_server
from tests.tls import Authority, Issued

PUMPS = pytest.mark.parametrize("pump", ["reactor", "native"])

CHOOSING = """
sni = { "site.example.com" = "site", "*.example.com" = "chat" }
alpn = { "h2" = "site", "acme-tls/1" = "chat" }
"""
# What becomes of the rest: it goes on untouched, its TLS ends here and its bytes go on, it is refused, it is HTTP here.
UNTOUCHED = f'mode = "tcp"\nupstream = "rest"\n{CHOOSING}'
TERMINATED = f'mode = "tcp"\nupstream = "rest"\ntls = [TLS]\n{CHOOSING}'
ALONE = f'mode = "tcp"\n{CHOOSING}'
HTTP = f"tls = [TLS]\n{CHOOSING}"

GROUPS = ("site", "chat", "rest")
NOTHING: Mapping[str, str] = MappingProxyType({})


@attrs.define
class Ground:
    """Starts the relay; its groups are played by hand."""

    _start: Callable[..., Relay]
    _servers: dict[str, RawServer]
    authority: Authority
    issued: Issued
    """What the relay shows where TLS ends in it."""

    def __getitem__(self, group: str) -> RawServer:
        return self._servers[group]

    def open(
        self,
        listen: str,
        *,
        pump: str = "auto",
        general: str = "",
        more: str = "",
        address: str = "127.0.0.1:0",
        before: Mapping[str, str] = NOTHING,
        **how: Any,
    ) -> Relay:
        """Start the relay.

        Args:
            listen: One of the four above.
            pump: The pump, and with it what does handshakes.
            general: Further keys of `[relay]`.
            more: Further tables.
            address: Where it listens.
            before: Addresses that come first in groups.
            how: For the relay: `over`.
        """
        text = f'pump = "{pump}"\n{general}\n[[listen]]\naddress = "{address}"\n'
        text += listen.replace("TLS", self.issued.toml) + "\n"
        for group, server in self._servers.items():
            servers = [before[group]] if group in before else []
            named = ", ".join(f'"{each}"' for each in [*servers, server.address])
            text += f'[[upstream]]\nname = "{group}"\nservers = [{named}]\n'
        if 'mode = "tcp"' not in listen:
            text += '[[route]]\npath = "/"\nupstream = "rest"\n'
        return self._start(text + more, **how)

    def nobody_else_came(self) -> None:
        """No upstream has a connection that the test has not taken."""
        assert [group for group, server in self._servers.items() if not server.nobody_came()] == []


@contextmanager
def ground_of(start: Callable[..., Relay], folder: Path) -> Iterator[Ground]:
    """A ground for a block."""
    authority = Authority(folder)
    with ExitStack() as stack:
        servers = {group: stack.enter_context(raw_server()) for group in GROUPS}
        yield Ground(start, servers, authority, authority.issue("localhost"))
