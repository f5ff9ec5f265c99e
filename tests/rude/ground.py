"""What every run of the state machine has in common: upstreams that listen, refuse, or swallow, and a configuration."""

import select
import socket
from pathlib import Path

from tests.rude.far_end import small
from tests.tls import Authority
from wsrelay.config import load
from wsrelay.config.settings import Settings

CONFIGURATION = """
[relay]
access_log = "off"
pump = "reactor"
[limits]
connections_per_address = 1000
[[listen]]
name = "http"
address = "127.0.0.1:0"
{tls}
[[listen]]
name = "raw"
address = "127.0.0.1:0"
mode = "tcp"
{tls}
upstream = "raw"
[[upstream]]
name = "app"
servers = ["127.0.0.1:{app}"]
[[upstream]]
name = "raw"
servers = ["127.0.0.1:{raw}"]
[[upstream]]
name = "gone"
servers = ["127.0.0.1:{gone}"]
[[upstream]]
name = "hole"
servers = ["127.0.0.1:{hole}"]
[[route]]
path = "/app"
upstream = "app"
[[route]]
path = "/gone"
upstream = "gone"
[[route]]
path = "/hole"
upstream = "hole"
[[route]]
path = "/own"
respond = {{ body = "here" }}
"""


class Ground:
    """What all examples share: the upstreams' listening sockets, and the settings that name them."""

    def __init__(self, folder: Path, *, secure: bool) -> None:
        """Every listener of the relay is under TLS if `secure`."""
        self.secure = secure
        self.app, self.raw = (_listening() for _ in range(2))
        # Bound, and nobody listens.
        self.gone = socket.socket()
        self.gone.bind(("127.0.0.1", 0))
        # Its queue is full, so that the kernel answers no connect.
        self.hole = _listening(0)
        self._filler = socket.create_connection(self.hole.getsockname())
        ports = {name: getattr(self, name).getsockname()[1] for name in ("app", "raw", "gone", "hole")}
        tls = f"tls = [{Authority(folder).issue('localhost').toml}]" if secure else ""
        file = folder / "wsrelay.toml"
        file.write_text(CONFIGURATION.format(tls=tls, **ports))
        self.settings: Settings = load.read(file).settings

    def waiting(self) -> list[socket.socket]:
        """Where somebody waits to be accepted."""
        return select.select([self.app, self.raw], [], [], 0)[0]

    def close(self) -> None:
        for each in (self.app, self.raw, self.gone, self.hole, self._filler):
            each.close()


def _listening(backlog: int = 128) -> socket.socket:
    made = small(socket.socket())
    made.bind(("127.0.0.1", 0))
    made.listen(backlog)
    made.setblocking(False)
    return made
