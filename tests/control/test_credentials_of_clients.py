"""Who vouches for clients is renewed like certificates are (`credentials`)."""

import ssl
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
from OpenSSL import SSL

from tests.control.renewed import MANY, Renewed, listening, opened, replace
from tests.harness import Relay
from tests.net import identities
from tests.tls import Authority, only, versions

Start = Callable[..., Relay]
PUMPS = pytest.mark.parametrize("pump", ["reactor", "native"])
VERSIONS = pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION], ids=["1.2", "1.3"])
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


# Authorities of clients.


@attrs.define
class Clients:
    """A listener that requires certificates of clients, and the file of those who vouch for them."""

    running: Renewed
    file: Path
    folder: Path
    authority: Authority

    def get(self, shown: identities.Identity, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
        how = only(self.authority, version)
        how.load_cert_chain(*shown.write(self.folder))
        wire = self.running.relay.connect_tls(how)
        wire.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return wire.read_all()


ROOTS = [identities.authority(name) for name in ("One", "Two")]


@pytest.fixture
def clients(relay: Start, authority: Authority, tmp_path: Path) -> Clients:
    file = tmp_path / "clients.pem"
    file.write_bytes(ROOTS[0].pem)
    running = opened(relay, listening(authority.issue("localhost"), listen=f'client_ca = "{file}"'))
    return Clients(running, file, tmp_path, authority)


@pytest.mark.parametrize("version", versions(), ids=["1.2", "1.3"])
def test_who_vouches_for_clients_is_renewed(clients: Clients, version: ssl.TLSVersion) -> None:
    one, two = (identities.client(root) for root in ROOTS)
    assert clients.get(one, version).endswith(b"here")
    with pytest.raises(ssl.SSLError):
        clients.get(two, version)
    replace(clients.file, ROOTS[1].pem)
    clients.running.looks()
    assert clients.get(two, version).endswith(b"here")
    with pytest.raises(ssl.SSLError):
        clients.get(one, version)
    assert clients.running.failing == {}


@pytest.mark.parametrize("version", versions(), ids=["1.2", "1.3"])
def test_a_session_is_no_way_in_for_who_is_not_vouched_for_any_more(clients: Clients, version: ssl.TLSVersion) -> None:
    how = only(clients.authority, version)
    how.load_cert_chain(*identities.client(ROOTS[0]).write(clients.folder))
    first = clients.running.relay.connect_tls(how)
    first.send(GET)
    first.read_until(b"here")
    session = first.socket.session  # type: ignore[attr-defined]  # an SSLSocket here
    replace(clients.file, ROOTS[1].pem)
    clients.running.looks()
    with pytest.raises(ssl.SSLError):
        clients.running.relay.connect_tls(how, session=session).read_all()
    assert clients.running.relay.line(event="failed")["reason"] == "client-certificate-refused"


@pytest.mark.parametrize("data", [b"", b"-----BEGIN CERTIFICATE-----\n", None], ids=["empty", "cut", "gone"])
def test_a_broken_file_of_those_who_vouch_locks_nobody_out(clients: Clients, data: bytes | None) -> None:
    if data is None:
        clients.file.unlink()
    else:
        replace(clients.file, data)
    clients.running.looks(MANY)
    assert clients.get(identities.client(ROOTS[0])).endswith(b"here")
    assert clients.file.name in clients.running.failing["public"]
