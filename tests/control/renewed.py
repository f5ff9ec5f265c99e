"""A relay whose files change while it runs: the looks at them pass at once, and what fails can be asked for."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from OpenSSL import SSL

from tests.config.issuing import Issued as Signed
from tests.harness import HandTime, Relay, in_reactor
from tests.tls import Authority, Client, Issued, context
from wsrelay.control.renewal import LOOK_SECONDS

# As many looks as it takes until what stays broken is told of.
MANY = 6


@attrs.define
class Renewed:
    """One relay; its time is the test's."""

    relay: Relay
    over: HandTime

    def looks(self, count: int = 2) -> None:
        """Let so many looks at the files happen, with what follows from each."""
        for _ in range(count):
            self.over.passes(LOOK_SECONDS)
            self.relay.settle()

    @property
    def failing(self) -> dict[str, str]:
        """What cannot be renewed, and why."""
        renewal = self.relay.service._renewal
        assert renewal is not None
        return dict(in_reactor(lambda: renewal.failing))

    def shown(self, name: str | None = "localhost", index: int = 0, how: SSL.Context | None = None) -> bytes:
        """The leaf that a new client gets, DER."""
        client = Client(self.relay.port(index), how or context(), name)
        try:
            return client.chain[0]
        finally:
            client.close()


def opened(relay: Callable[..., Relay], text: str) -> Renewed:
    over = HandTime()
    return Renewed(relay(text, over), over)


def listening(*tls: Issued, pump: str = "auto", listen: str = "", more: str = "") -> str:
    """A listener with these certificates that answers itself. Clients have time, since the looks take of it."""
    return f"""
pump = "{pump}"
[timeouts]
request_head = "1h"
http_idle = "1h"
[[listen]]
name = "public"
address = "127.0.0.1:0"
tls = [{", ".join(each.toml for each in tls)}]
{listen}
[[route]]
path = "/"
respond = {{ body = "here" }}
{more}
"""


def put(new: Issued, into: Issued) -> None:
    """Write a certificate and its key where another one is."""
    for source, target in ((new.chain, into.chain), (new.key, into.key)):
        replace(target, source.read_bytes())


def replace(file: Path, data: bytes) -> None:
    """Write a file's new content beside it and set it in its place, as certbot does."""
    beside = file.with_suffix(".new")
    beside.write_bytes(data)
    os.replace(beside, file)


def written(folder: Path, shown: Signed, *behind: Signed) -> Issued:
    """Files of a certificate that was signed by hand."""
    number = len(list(folder.glob("*-by-hand.pem")))
    chain, key = folder / f"{number}-chain.pem", folder / f"{number}-key-by-hand.pem"
    chain.write_bytes(b"".join(each.pem for each in (shown, *behind)))
    key.write_bytes(shown.key_pem)
    return Issued(chain, key, ())


def copied(issued: Issued, folder: Path) -> Issued:
    """The same certificate in files of its own."""
    folder.mkdir(exist_ok=True)
    paths: dict[str, Any] = {name: folder / getattr(issued, name).name for name in ("chain", "key")}
    for name, path in paths.items():
        shutil.copy(getattr(issued, name), path)
    return attrs.evolve(issued, **paths)


def authority_in(folder: Path) -> Authority:
    folder.mkdir(exist_ok=True)
    return Authority(folder)
