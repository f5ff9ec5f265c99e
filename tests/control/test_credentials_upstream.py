"""What secures connections to upstreams is renewed too (`credentials`), and what cannot be built is a mistake."""

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import pytest
from OpenSSL import SSL
from twisted.logger import LogEvent, LogLevel

from tests.config.issuing import issue
from tests.control.renewed import MANY, Renewed, listening, opened, replace
from tests.control.renewing import said
from tests.harness import RawServer, Relay
from tests.net.tls_upstreams import (
    GET,
    LOCAL,
    OK,
    ROOT,
    STRANGER,
    VERSIONS,
    arrived,
    asked,
    asking_for_a_certificate,
    configuration,
    identified,
    leaf,
    named,
    served,
    serving,
    trusting,
)
from tests.tls import Authority
from wsrelay.config import load
from wsrelay.config.mistakes import ConfigError
from wsrelay.config.settings import Settings, UpstreamTls
from wsrelay.control.credentials import Credentials
from wsrelay.control.service import CannotStart
from wsrelay.net.handshakes import ReactorHandshakes

Start = Callable[..., Relay]
TLS = pytest.mark.parametrize("version", VERSIONS, ids=["TLS 1.2", "TLS 1.3"])
PATIENT = '[timeouts]\nrequest_head = "1h"\nhttp_idle = "1h"\n'

STRANGERS = leaf("localhost", by=STRANGER)
OWN_ROOT = issue("Root of those who dial")


def of_strangers(version: int | None = None) -> SSL.Context:
    return serving(STRANGERS, STRANGERS, version=version)


@attrs.define
class Behind:
    """A relay in front of an upstream under TLS, and the file of those who vouch for that."""

    running: Renewed
    upstream: RawServer
    ca: Path

    def trust(self, *roots: object) -> None:
        replace(self.ca, b"".join(root.pem for root in roots))  # type: ignore[attr-defined]  # Issued
        self.running.looks()

    def serves(self, context: SSL.Context) -> bool:
        """Whether a new client is served by an upstream of this context."""
        client = self.running.relay.connect()
        served(client, self.upstream, context)
        client.close()
        return True

    def refuses(self, context: SSL.Context) -> bool:
        """Whether a new client is refused, since the upstream's certificate is."""
        return refuses(self.running.relay, self.upstream, context)


def refuses(running: Relay, upstream: RawServer, context: SSL.Context, request: bytes = GET) -> bool:
    client = asked(running, request)
    arrived(upstream, context).heard()
    answer = client.read_all()
    assert answer.startswith(b"HTTP/1.1 502 ")
    return b"\r\nX-Wsrelay-Reason: upstream-certificate\r\n" in answer


@pytest.fixture
def behind(relay: Start, upstream: RawServer, tmp_path: Path) -> Behind:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(ROOT.pem)
    running = opened(relay, configuration([named(upstream)], f'ca = "{ca}"', more=PATIENT))
    return Behind(running, upstream, ca)


@TLS
def test_who_vouches_for_an_upstream_is_renewed(behind: Behind, version: int) -> None:
    assert behind.serves(serving(version=version))
    behind.trust(STRANGER)
    assert behind.serves(of_strangers(version))
    assert behind.refuses(serving(version=version))
    behind.trust(STRANGER, ROOT)
    assert behind.serves(of_strangers(version))
    assert behind.serves(serving(version=version))
    assert behind.running.failing == {}


@TLS
def test_a_session_of_before_is_no_way_around_the_new_authorities(behind: Behind, version: int) -> None:
    """A resumed handshake shows no certificate that could be judged."""
    context = serving(version=version)
    client = behind.running.relay.connect()
    served(client, behind.upstream, context)
    behind.trust(STRANGER)
    assert behind.refuses(context)


@TLS
def test_a_connection_of_before_brings_no_session_past_the_new_authorities(behind: Behind, version: int) -> None:
    """It may go on; but what it leaves was believed under authorities that count no more."""
    context = serving(version=version)
    client = behind.running.relay.connect()
    far = served(client, behind.upstream, context)
    behind.trust(STRANGER)
    client.send(GET)
    far.answer()
    assert client.read(len(OK)) == OK
    assert behind.refuses(context)


@TLS
def test_connections_of_before_go_on(behind: Behind, version: int) -> None:
    client = behind.running.relay.connect()
    far = served(client, behind.upstream, serving(version=version))
    behind.trust(STRANGER)
    for _ in range(2):
        client.send(GET)
        far.answer()
        assert client.read(len(OK)) == OK
    assert behind.upstream.nobody_came()


@pytest.mark.parametrize("data", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA", None], ids=["empty", "cut", "gone"])
def test_a_broken_file_of_authorities_changes_nothing_and_is_told(
    behind: Behind, logged: list[LogEvent], data: bytes | None
) -> None:
    if data is None:
        behind.ca.unlink()
    else:
        replace(behind.ca, data)
    behind.running.looks(MANY)
    assert behind.serves(serving())
    assert behind.refuses(of_strangers())
    assert list(behind.running.failing) == ["upstream app"]
    assert str(behind.ca) in behind.running.failing["upstream app"]
    (error,) = said(logged, LogLevel.error)
    assert error.startswith("upstream app: certificates cannot be renewed: ")
    behind.trust(STRANGER)
    assert behind.serves(of_strangers())
    assert behind.running.failing == {}


def test_only_the_group_whose_files_have_changed_is_renewed(relay: Start, upstream: RawServer, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("one.pem", "two.pem")]
    for file in files:
        file.write_bytes(ROOT.pem)
    other = f'[[upstream]]\nname = "other"\nservers = ["{named(upstream)}"]\ntls = {{ ca = "{files[1]}" }}\n'
    other += '[[route]]\npath = "/other"\nupstream = "other"\n'
    running = opened(relay, configuration([named(upstream)], f'ca = "{files[0]}"', more=other + PATIENT))
    replace(files[1], STRANGER.pem)
    running.looks()
    context = serving()
    served(running.relay.connect(), upstream, context)
    assert refuses(running.relay, upstream, context, GET.replace(b"/a", b"/other"))


# Our own certificate.


def test_what_we_show_of_ourselves_is_renewed(relay: Start, upstream: RawServer, tmp_path: Path) -> None:
    tls = f"{trusting(tmp_path)}, {identified(tmp_path, issue('first', OWN_ROOT))}"
    running = opened(relay, configuration([named(upstream)], tls, more=PATIENT))
    context = asking_for_a_certificate(serving(), OWN_ROOT)
    first = running.relay.connect()
    assert served(first, upstream, context).client == "first"
    second = issue("second", OWN_ROOT)
    replace(tmp_path / "own-chain.pem", second.pem)
    running.looks(MANY)
    assert served(running.relay.connect(), upstream, context).client == "first"
    assert "the key belongs to no certificate" in running.failing["upstream app"]
    replace(tmp_path / "own-key.pem", second.key_pem)
    running.looks()
    assert running.failing == {}
    assert served(running.relay.connect(), upstream, context).client == "second"


def test_an_expired_certificate_of_ours_does_not_replace_one_that_is_good(
    relay: Start, upstream: RawServer, tmp_path: Path
) -> None:
    tls = f"{trusting(tmp_path)}, {identified(tmp_path, issue('first', OWN_ROOT))}"
    running = opened(relay, configuration([named(upstream)], tls, more=PATIENT))
    old = issue("old", OWN_ROOT, since=datetime.now(UTC) - timedelta(days=100))
    replace(tmp_path / "own-chain.pem", old.pem)
    replace(tmp_path / "own-key.pem", old.key_pem)
    running.looks(MANY)
    assert "is not valid now" in running.failing["upstream app"]
    assert served(running.relay.connect(), upstream, asking_for_a_certificate(serving(), OWN_ROOT)).client == "first"


# What is watched, and what is not there.


def settings_of(text: str, folder: Path) -> Settings:
    file = folder / "wsrelay.toml"
    file.write_text(f"[relay]\n{text}")
    return load.read(file).settings


def credentials(settings: Settings) -> Credentials:
    return Credentials(settings, ReactorHandshakes(None), lambda names: None)  # type: ignore[arg-type]  # unused here


def test_who_trusts_the_system_has_no_files_and_is_read_again_all_the_same(tmp_path: Path) -> None:
    """Once a day, or when asked: the system's authorities change too. What is plain has nothing to renew."""
    text = """
[[listen]]
address = "127.0.0.1:0"
[[upstream]]
name = "app"
servers = ["app.internal:443"]
tls = {}
[[upstream]]
name = "plain"
servers = ["127.0.0.1:80"]
[[route]]
path = "/"
upstream = "app"
[[route]]
path = "/plain"
upstream = "plain"
"""
    settings = settings_of(text, tmp_path)
    made = credentials(settings)
    assert [(each.name, each.files, each.served()) for each in made.watched] == [
        ("upstream app", (), "the system's store")
    ]
    assert made.contexts(settings.listeners[0]) is None
    assert list(made.secured()) == ["app"]


def test_every_file_is_watched_under_the_name_of_whose_it_is(tmp_path: Path) -> None:
    issued, ca = Authority(tmp_path).issue("localhost"), tmp_path / "clients.pem"
    ca.write_bytes(ROOT.pem)
    group = f'[[upstream]]\nname = "public"\nservers = ["localhost:443"]\ntls = {{ {trusting(tmp_path)},'
    group += f' {identified(tmp_path, LOCAL)} }}\n[[route]]\npath = "/app"\nupstream = "public"\n'
    text = listening(issued, listen=f'client_ca = "{ca}"', more=group)
    watched = {each.name: set(each.files) for each in credentials(settings_of(text, tmp_path)).watched}
    own = {tmp_path / "own-chain.pem", tmp_path / "own-key.pem"}
    assert watched == {"public": {issued.chain, issued.key, ca}, "upstream public": {tmp_path / "ca0.pem", *own}}


# What OpenSSL or the system refuses.


def test_what_openssl_refuses_is_a_mistake_that_names_the_listener(tmp_path: Path) -> None:
    settings = settings_of(listening(Authority(tmp_path).issue("localhost")), tmp_path)
    (listener,) = settings.listeners
    listener = attrs.evolve(listener, policy=attrs.evolve(listener.policy, ciphers="NOTHING-OF-THE-KIND"))
    made = credentials(attrs.evolve(settings, listeners=(listener,)))
    with pytest.raises(ConfigError, match=r"^public: OpenSSL takes .* for no good: no cipher match$"):
        made.contexts(listener)


@pytest.fixture
def no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files would be, and cannot."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    return tmp_path / "nowhere"


def test_a_system_without_room_for_temporary_files_is_a_mistake(tmp_path: Path, no_room: Path) -> None:
    settings = settings_of(listening(Authority(tmp_path).issue("localhost")), tmp_path)
    with pytest.raises(ConfigError, match=r"^public: cannot write .*: No such file or directory$"):
        credentials(settings).contexts(settings.listeners[0])


def test_the_same_for_an_upstream(tmp_path: Path, no_room: Path) -> None:
    settings = settings_of(configuration(["localhost:443"], trusting(tmp_path)), tmp_path)
    assert isinstance(settings.upstreams[0].tls, UpstreamTls)
    with pytest.raises(ConfigError, match=r"^app: cannot write .*: No such file or directory$"):
        credentials(settings).secured()


def test_a_start_without_that_room_fails_in_words(
    relay: Start, tmp_path: Path, no_room: Path, logged: list[LogEvent]
) -> None:
    with pytest.raises(CannotStart, match="public: cannot write"):
        relay(listening(Authority(tmp_path).issue("localhost")))
    assert len(said(logged, LogLevel.error)) == 1


def test_a_renewal_without_that_room_changes_nothing_and_comes_later(
    relay: Start, tmp_path: Path, no_room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    authority = Authority(tmp_path)
    old, new = authority.issue("localhost"), authority.issue("localhost")
    running = opened(relay, listening(old))
    monkeypatch.setattr(tempfile, "tempdir", str(no_room))
    for source, target in ((new.chain, old.chain), (new.key, old.key)):
        replace(target, source.read_bytes())
    running.looks(MANY)
    assert running.shown() == old.sent[0]
    assert "cannot write" in running.failing["public"]
    monkeypatch.undo()
    running.over.passes(3600)
    running.looks()
    assert running.shown() == new.sent[0]
    assert running.failing == {}
