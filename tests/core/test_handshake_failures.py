"""Why a handshake failed (`handshake_failures`): each failure is provoked with OpenSSL itself, in both ways of telling.

The reactor joins all that OpenSSL says, and the threads in C tell the last of it; the reason has to be the same.
"""

import contextlib
import select
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import attrs
import pytest
from cryptography.hazmat.bindings._rust import _openssl
from OpenSSL import SSL

from tests.contracts.handshakes import KINDS, Attempt, attempts, opened
from tests.harness import in_reactor
from tests.net import hellos, identities
from tests.tls import Authority, context
from wsrelay.config import certificates
from wsrelay.config.settings import Certificate, TlsPolicy, TlsVersion
from wsrelay.core import handshake_failures
from wsrelay.core.handshake_failures import reason_of
from wsrelay.core.outcomes import Loss
from wsrelay.core.reasons import Reason
from wsrelay.net import takeover
from wsrelay.net.handshakes import Handshakes
from wsrelay.net.tls import Contexts

TLS_1_2, TLS_1_3 = SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION
VERSIONS = pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3], ids=["1.2", "1.3"])


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def handshakes(request: pytest.FixtureRequest) -> Iterator[Handshakes]:
    with opened(request.param) as ready:
        yield ready


@cache
def clients_root() -> identities.Identity:
    return identities.authority("Clients Root")


@attrs.define
class Failing:
    """Servers of ours whose handshakes fail; each says why in its own way."""

    _handshakes: Handshakes
    _folder: Path
    _begin: Callable[..., Attempt]

    def server(self, *, asks: bool = False, http: bool = False, policy: TlsPolicy | None = None) -> SSL.Context:
        """A context as listeners have it; `asks` for a client's certificate."""
        policy = policy or TlsPolicy()
        if asks:
            policy = attrs.evolve(policy, client_ca=self._folder)
        issued = Authority(self._folder).issue("localhost")
        loaded = certificates.load(Certificate(issued.chain, issued.key))
        trusted = [clients_root().certificate] if asks else []
        (made,) = Contexts([loaded], http=http, policy=policy, authorities=trusted).all
        if http:
            in_reactor(partial(self._handshakes.prepare, made, http=True))
        return made

    def gets(self, data: bytes, server: SSL.Context | None = None) -> Reason:
        """What becomes of these bytes, which are all that the client sends."""
        attempt = self._begin(server or self.server())
        with contextlib.suppress(ConnectionError):
            attempt.far.sendall(data)
        return told(attempt)

    def meets(self, how: SSL.Context, server: SSL.Context | None = None) -> Reason:
        """What becomes of a client of OpenSSL's."""
        attempt = self._begin(server or self.server())
        play(attempt, how)
        return told(attempt)

    def hears(self, alert: int, version: int) -> Reason:
        """What becomes of a client that answers our first messages with this alert."""
        attempt = self._begin(self.server())
        client = SSL.Connection(context(version=version), None)
        client.set_connect_state()
        attempt.far.sendall(flight(client))
        assert attempt.far.recv(65536)
        attempt.far.sendall(b"\x15\x03\x03\x00\x02\x02" + bytes([alert]))
        return told(attempt)


def told(attempt: Attempt) -> Reason:
    shaken = attempt.told()
    assert shaken.loss is Loss.TLS, shaken
    return reason_of(shaken.problem)


def play(attempt: Attempt, how: SSL.Context) -> None:
    """Carry a client's bytes until our end has told of its own."""
    client = SSL.Connection(how, None)
    client.set_connect_state()
    heard = b""
    while attempt.silent:
        attempt.far.sendall(flight(client, heard))
        heard = b""
        # Not for ever: our end may have ended without a word.
        while not heard and attempt.silent:
            if select.select([attempt.far], [], [], 0.02)[0]:
                heard = attempt.far.recv(65536)


def flight(client: SSL.Connection, heard: bytes = b"") -> bytes:
    """Hear this; what is to be sent then, an alert too."""
    if heard:
        client.bio_write(heard)
    with contextlib.suppress(SSL.Error):
        client.do_handshake()
    with contextlib.suppress(SSL.WantReadError):
        return client.bio_read(1 << 16)
    return b""


@pytest.fixture
def failing(handshakes: Handshakes, tmp_path: Path) -> Iterator[Failing]:
    with attempts(handshakes) as begin:
        yield Failing(handshakes, tmp_path, begin)


# What clients say of our certificate, or of anything else: RFC 8446 6.2.

ALERTS = {
    40: Reason.TLS_ERROR,  # handshake_failure, which may mean anything
    42: Reason.TLS_CERTIFICATE_UNKNOWN,
    43: Reason.TLS_CERTIFICATE_UNKNOWN,
    44: Reason.TLS_CERTIFICATE_UNKNOWN,
    45: Reason.TLS_CERTIFICATE_EXPIRED,
    46: Reason.TLS_CERTIFICATE_UNKNOWN,
    47: Reason.TLS_ERROR,
    48: Reason.TLS_UNKNOWN_CA,
    49: Reason.TLS_ERROR,  # access_denied
    50: Reason.TLS_ERROR,  # decode_error
    51: Reason.TLS_ERROR,
    70: Reason.TLS_VERSION,
    71: Reason.TLS_CIPHER,
    80: Reason.TLS_ERROR,
    86: Reason.TLS_VERSION,  # inappropriate_fallback, RFC 7507
    109: Reason.TLS_ERROR,
    110: Reason.TLS_ERROR,
    112: Reason.TLS_ERROR,  # a server's to say
    113: Reason.TLS_ERROR,
    116: Reason.TLS_ERROR,  # certificate_required, a server's to say
    120: Reason.TLS_PROTOCOL,
    200: Reason.TLS_ERROR,  # nobody's
}


@VERSIONS
@pytest.mark.parametrize(("alert", "reason"), ALERTS.items())
def test_an_alert_has_the_reason_that_it_names(failing: Failing, version: int, alert: int, reason: Reason) -> None:
    assert failing.hears(alert, version) is reason


@VERSIONS
def test_a_real_client_that_does_not_know_our_authority(failing: Failing, version: int) -> None:
    how = context(version=version)
    how.set_verify(SSL.VERIFY_PEER)
    assert failing.meets(how) is Reason.TLS_UNKNOWN_CA


# What the two cannot agree on.


def offering(groups: str, version: int = TLS_1_3) -> SSL.Context:
    how = context(version=version)
    assert _openssl.lib.SSL_CTX_set1_curves_list(how._context, groups.encode()) == 1
    return how


def test_a_client_of_tls_1_2_where_1_3_is_the_least(failing: Failing) -> None:
    server = failing.server(policy=TlsPolicy(minimum=TlsVersion.TLS_1_3))
    assert failing.meets(context(version=TLS_1_2), server) is Reason.TLS_VERSION


@pytest.mark.parametrize("version", [b"\x03\x02", b"\x03\x01", b"\x03\x00"], ids=["1.1", "1.0", "SSL 3"])
def test_a_client_of_an_older_version(failing: Failing, version: bytes) -> None:
    assert failing.gets(hellos.records(hellos.message(version=version))) is Reason.TLS_VERSION


def test_a_client_that_falls_back_without_need(failing: Failing) -> None:
    """RFC 7507."""
    body = hellos.message()[4:].replace(b"\x00\x02\xc0\x2b", b"\x00\x04\xc0\x2b\x56\x00")
    assert failing.gets(hellos.records(b"\x01" + hellos.counted(body, 3))) is Reason.TLS_VERSION


@pytest.mark.parametrize(
    "how",
    [
        context(version=TLS_1_2, suites="AES128-SHA:@SECLEVEL=0"),
        context(version=TLS_1_2, signatures="RSA-PSS+SHA256"),
        context(version=TLS_1_3, signatures="RSA-PSS+SHA256"),
        offering("secp521r1"),
        offering("ffdhe2048"),
        offering("secp521r1", TLS_1_2),
    ],
    ids=["suites 1.2", "signatures 1.2", "signatures 1.3", "groups 1.3", "finite fields", "groups 1.2"],
)
def test_nothing_in_common(failing: Failing, how: SSL.Context) -> None:
    assert failing.meets(how) is Reason.TLS_CIPHER


def test_no_kind_of_signature_that_anybody_knows(failing: Failing) -> None:
    signatures = hellos.extension(13, hellos.counted(b"\xff\xff", 2))
    assert failing.gets(hellos.records(hellos.message(signatures))) is Reason.TLS_CIPHER


def test_no_suite_of_tls_1_3_in_common(failing: Failing) -> None:
    how = context(version=TLS_1_3)
    how.set_tls13_ciphersuites(b"TLS_AES_128_CCM_SHA256")
    assert failing.meets(how) is Reason.TLS_CIPHER


@VERSIONS
def test_no_protocol_in_common(failing: Failing, version: int) -> None:
    assert failing.meets(context(version=version, alpn=(b"h2",)), failing.server(http=True)) is Reason.TLS_PROTOCOL


# Clients' certificates.


def showing(folder: Path, version: int, shown: identities.Identity | None) -> SSL.Context:
    how = context(version=version)
    if shown is not None:
        chain, key = shown.write(folder)
        how.use_certificate_chain_file(str(chain))
        how.use_privatekey_file(str(key))
    return how


@VERSIONS
def test_a_certificate_that_is_missing(failing: Failing, version: int) -> None:
    assert failing.meets(context(version=version), failing.server(asks=True)) is Reason.CLIENT_CERTIFICATE_MISSING


BAD = {
    "another authority's": lambda: identities.client(identities.authority("Others")),
    "signed by itself": lambda: identities.client(None),
    "expired": lambda: identities.client(clients_root(), days=(-3, -2)),
    "not valid yet": lambda: identities.client(clients_root(), days=(2, 3)),
    "for servers": lambda: identities.client(clients_root(), usages=(identities.SERVER,)),
}


@VERSIONS
@pytest.mark.parametrize("made", BAD.values(), ids=BAD)
def test_a_certificate_that_is_refused(
    failing: Failing, tmp_path: Path, version: int, made: Callable[[], identities.Identity]
) -> None:
    how = showing(tmp_path, version, made())
    assert failing.meets(how, failing.server(asks=True)) is Reason.CLIENT_CERTIFICATE_REFUSED


# What is no ClientHello: words do not tell, since the same may happen behind a good one. test_arrival_not.py has more.

STRANGE = {
    "small letters": b"get / HTTP/1.1\r\n\r\n",
    "another message": hellos.records(b"\x02\x00\x00\x00"),
    "endless": hellos.records(b"\x01\xff\xff\xff" + bytes(20_000)),
    "data": b"\x17\x03\x03\x00\x10" + bytes(16),
}


@pytest.mark.parametrize("sent", STRANGE.values(), ids=STRANGE)
def test_what_is_no_hello_is_left_to_who_knows_whether_one_came(failing: Failing, sent: bytes) -> None:
    assert failing.gets(sent) is Reason.TLS_ERROR


@VERSIONS
def test_nonsense_behind_a_good_hello_is_no_fault_of_the_hello(failing: Failing, version: int) -> None:
    attempt = failing._begin(failing.server())
    client = SSL.Connection(context(version=version), None)
    client.set_connect_state()
    attempt.far.sendall(flight(client))
    assert attempt.far.recv(65536)
    attempt.far.sendall(b"\x19\x03\x03\x00\x05xxxxx")
    assert told(attempt) is Reason.TLS_ERROR


# Of words alone.


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("", Reason.TLS_ERROR),
        ("unknown TLS error", Reason.TLS_ERROR),
        ("tls alert unknown ca", Reason.TLS_UNKNOWN_CA),
        ("tlsv1 alert unknown ca", Reason.TLS_UNKNOWN_CA),
        ("certificate verify failed: certificate has expired", Reason.CLIENT_CERTIFICATE_REFUSED),
        # What explains is not looked at, whatever is in it.
        ("decryption failed: alert unknown ca", Reason.TLS_ERROR),
        # Of several errors the last one names the step that failed.
        ("tlsv1 alert unknown ca; no shared cipher", Reason.TLS_CIPHER),
        ("no shared cipher; internal error", Reason.TLS_ERROR),
        ("not an alert unknown cart", Reason.TLS_ERROR),
    ],
)
def test_the_last_words_before_a_colon_count(words: str, reason: Reason) -> None:
    assert reason_of(words) is reason


# What our own callback says, and OpenSSL does not.
OURS = {"no http/1.1 by ALPN"}


def test_every_word_is_one_that_openssl_has() -> None:
    """A word that it does not have is never matched, and nobody would notice."""
    SSL.Context(SSL.TLS_METHOD)  # or its words are not loaded yet
    ssl = 20  # ERR_LIB_SSL; the number of the library stands above 23 bits of the reason
    words = {takeover.text_of(ssl << 23 | number) for number in range(1, 2000)}
    unknown = {ending for ending in handshake_failures._ENDINGS if not any(word.endswith(ending) for word in words)}
    assert unknown == OURS


def test_no_reason_is_one_that_http_would_be_answered_with() -> None:
    reasons = {
        reason_of(words) for words in ("", "certificate verify failed", "no shared cipher", "unsupported protocol")
    }
    assert {reason.status for reason in reasons} == {0}
