"""A whole relay with the corpus's configuration, in this process, in front of the scripted upstreams."""

import os
import string
import time
from pathlib import Path

from tests.corpus.cases import Case
from tests.corpus.clients import SOURCES, Connected, Plain, Secure
from tests.corpus.upstream import ScriptedUpstreams
from tests.harness import PATIENCE_SECONDS, Relay
from tests.tls import Authority

TEMPLATE = Path(__file__).resolve().parent / "relay.toml"
_LISTENERS = ("plain", "tls")


class LoggedRelay(Relay):
    """A relay whose access log is also kept as it was written."""

    def _read_log(self) -> None:
        # The harness parses each line; what is looked for here are the bytes.
        with os.fdopen(self._pipe, "rb", buffering=0) as pipe:
            held = b""
            while data := pipe.read(65536):
                held += data
                *lines, held = held.split(b"\n")
                for line in lines:
                    if line == b"stop":
                        return
                    self._lines.put({"written": line.decode("latin-1")})

    def written(self) -> tuple[str, ...]:
        """The lines that have come since the last time; a mark of our own behind them says that these are all."""
        os.write(self._pipe, b"mark\n")
        lines = []
        while (line := self.next_line()["written"]) != "mark":
            lines.append(line)
        return tuple(lines)


class RelayPlace:
    """Where cases run: the relay, its upstreams, and its clients."""

    def __init__(self, folder: Path, upstreams: ScriptedUpstreams) -> None:
        self.upstreams = upstreams
        self.patience = PATIENCE_SECONDS
        issuer = Authority(folder)
        issued = issuer.issue("localhost")
        self._authority = folder / "authority.pem"
        issuer.root.cert_pem.write_to_path(str(self._authority))
        self._relay = LoggedRelay(configuration(upstreams.ports, str(issued.chain), str(issued.key)), folder)

    def connect(self, case: Case) -> Connected:
        """A client's connection for this case."""
        address = ("127.0.0.1", self._relay.port(_LISTENERS.index(case.listener)))
        source = SOURCES[case.client_from]
        if case.listener == "tls":
            return Secure(address, source, self._authority)
        return Plain(address, source, self.patience)

    def pause(self) -> None:
        """Return when the relay has taken what was sent before."""
        self._relay.settle()

    def settle(self) -> None:
        """Return when the session has ended; with its client gone, each turn of the reactor brings it nearer."""
        limit = time.monotonic() + PATIENCE_SECONDS
        while self._relay.sessions:
            assert time.monotonic() < limit, "the session goes on although its client has gone"

    def log_lines(self) -> tuple[str, ...]:
        """The lines of the access log since the last time."""
        return self._relay.written()

    def dispose(self) -> None:
        """Stop the relay; no session may be left."""
        self._relay.dispose()
        assert self._relay.sessions == 0


def configuration(ports: dict[str, int], chain: str, key: str, *, plain: int = 0, tls: int = 0) -> str:
    """The corpus's configuration, without the head of its first table."""
    template = string.Template(TEMPLATE.read_text())
    return template.substitute(ports, chain=chain, key=key, plain=plain, tls=tls)
