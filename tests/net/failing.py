"""Relays whose handshakes fail, on either way of doing them, and the one line that the log has of each failure."""

from collections.abc import Callable

import attrs
import pytest
from OpenSSL import SSL

from tests.harness import HandTime, RawServer, Relay
from tests.tls import Authority, Client, Issued

PUMPS = pytest.mark.parametrize("pump", ["reactor", "native"])
# With one certificate nobody looks at a ClientHello before OpenSSL does; with several, somebody does.
SEVERAL = pytest.mark.parametrize("several", [False, True], ids=["one certificate", "several"])
NUMBERS = pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION], ids=["1.2", "1.3"])
NAME = "www.example.com"


@attrs.define
class Failing:
    """Starts a relay whose handshakes fail."""

    _start: Callable[..., Relay]
    authority: Authority
    upstream: RawServer

    def open(
        self,
        pump: str = "auto",
        several: bool = False,
        *,
        listen: str = "",
        mode: str = "http",
        issued: Issued | None = None,
        over: HandTime | None = None,
    ) -> Relay:
        shown = [issued or self.authority.issue(NAME), *([self.authority.issue("other.test")] if several else [])]
        to = 'upstream = "app"\n' if mode == "tcp" else ""
        return self._start(
            f'pump = "{pump}"\n[[listen]]\naddress = "127.0.0.1:0"\nmode = "{mode}"\n'
            f"tls = [{', '.join(each.toml for each in shown)}]\n{listen}\n{to}"
            f'[[upstream]]\nname = "app"\nservers = ["{self.upstream.address}"]\n'
            + ('[[route]]\npath = "/"\nupstream = "app"\n' if mode == "http" else ""),
            **({} if over is None else {"over": over}),
        )


def fails(running: Relay, how: SSL.Context, name: str | None = NAME) -> None:
    """A client of pyOpenSSL whose handshake does not succeed, or ends right behind it."""
    with pytest.raises(SSL.Error):
        Client(running.port(), how, name).tls.recv(1)


def named(several: bool) -> tuple[str | None, ...]:
    """What the log may say of the name where OpenSSL itself does not get so far, or is in another thread's hands.

    Who had to look at the ClientHello knows it; with one certificate nobody had to.
    """
    return (NAME,) if several else (NAME, None)


def told(running: Relay, reason: str, *, sni: tuple[str | None, ...] = (NAME,), outcome: str = "tls-failed") -> str:
    """The one line of the failure, with one of these names; its detail."""
    line = running.next_line()
    expected = {"event": "failed", "outcome": outcome, "reason": reason, "tls": None, "upstream": None}
    found = {key: line[key] for key in expected}
    assert found == expected, f"expected {expected}, found {found}, {line['detail']}"
    assert line["sni"] in sni, f"expected the name {sni}, found {line['sni']}"
    assert line["detail"]
    return str(line["detail"])
