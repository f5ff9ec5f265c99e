"""What only private names of pyOpenSSL tell of a connection, or do to a context, and what is left without them."""

import contextlib
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.bindings import _rust
from OpenSSL import SSL, crypto

from tests.contracts.peers import server_context
from tests.tls import RSA, Authority, Issued, context
from wsrelay.net import takeover

VERSIONS = pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION], ids=["1.2", "1.3"])
TLS_1_3 = SSL.TLS1_3_VERSION


class Pair:
    """A client and a server whose bytes cross in memory."""

    def __init__(self, how: SSL.Context, server: SSL.Context | None = None, session: SSL.Session | None = None) -> None:
        self.client, self.server = SSL.Connection(how, None), SSL.Connection(server or server_context(), None)
        self.client.set_connect_state()
        self.client.set_tlsext_host_name(b"localhost")
        if session is not None:
            self.client.set_session(session)
        self.server.set_accept_state()
        self.flights = 0
        """How often the client has had to send something."""

    def shake_hands(self) -> "Pair":
        """Raises SSL.Error for the side that does not go on."""
        for _ in range(6):
            self._step(self.client)
            self.flights += self._carry(self.client, self.server)
            self._step(self.server)
            self._carry(self.server, self.client)
        self.client.do_handshake()
        self.server.do_handshake()
        with contextlib.suppress(SSL.WantReadError):  # tickets of TLS 1.3
            self.client.recv(1)
        return self

    def _step(self, one: SSL.Connection) -> None:
        with contextlib.suppress(SSL.WantReadError):
            one.do_handshake()

    def _carry(self, one: SSL.Connection, other: SSL.Connection) -> bool:
        try:
            other.bio_write(one.bio_read(1 << 16))
        except SSL.WantReadError:
            return False
        return True


def without(monkeypatch: pytest.MonkeyPatch, *missing: str, **changed: Callable[..., Any]) -> None:
    """From now on cryptography has no such names, and others are these."""
    real = _rust._openssl

    class Library:
        def __getattr__(self, name: str) -> Any:
            if name in missing:
                raise AttributeError(name)
            return changed.get(name) or getattr(real.lib, name)

    monkeypatch.setattr(_rust, "_openssl", types.SimpleNamespace(ffi=real.ffi, lib=Library()))


# Whether a session was resumed.


@pytest.fixture(params=[SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION], ids=["1.2", "1.3"])
def pairs(request: pytest.FixtureRequest) -> tuple[Pair, Pair]:
    """One whose handshake is done, and one that has its session. OpenSSL forgets the session with the first one."""
    how, server = context(version=request.param), server_context()
    first = Pair(how, server).shake_hands()
    assert not takeover.resumed(first.server)
    return first, Pair(how, server, first.client.get_session())


@pytest.fixture
def resumed(pairs: tuple[Pair, Pair]) -> Pair:
    return pairs[1]


def test_both_ends_know_that_a_session_was_resumed(resumed: Pair) -> None:
    assert not takeover.resumed(resumed.server), "before its handshake nothing is"
    resumed.shake_hands()
    assert takeover.resumed(resumed.server) is True
    assert takeover.resumed(resumed.client) is True


def test_a_session_of_another_server_is_not_resumed(resumed: Pair, tmp_path: Path) -> None:
    issued = Authority(tmp_path).issue("localhost")
    other = SSL.Context(SSL.TLS_SERVER_METHOD)
    other.use_certificate_chain_file(str(issued.chain))
    other.use_privatekey_file(str(issued.key))
    pair = Pair(resumed.client.get_context(), other, resumed.client.get_session())
    assert takeover.resumed(pair.shake_hands().server) is False


def test_where_names_have_changed_nobody_is_taken_for_resumed(resumed: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    resumed.shake_hands()
    without(monkeypatch, "SSL_session_reused")
    assert takeover.resumed(resumed.server) is False
    monkeypatch.undo()
    assert takeover.resumed(types.SimpleNamespace()) is False  # type: ignore[arg-type]  # a pyOpenSSL to come


# What was wrong with a certificate.


def verifying(version: int, *roots: x509.Certificate) -> SSL.Context:
    how = context(version=version)
    how.set_verify(SSL.VERIFY_PEER)
    store = how.get_cert_store()
    assert store is not None
    for root in roots:
        store.add_cert(crypto.X509.from_cryptography(root))
    return how


@VERSIONS
def test_mistrust_has_openssls_words_for_it(version: int) -> None:
    pair = Pair(verifying(version))
    with pytest.raises(SSL.Error, match="certificate verify failed"):
        pair.shake_hands()
    assert takeover.mistrust(pair.client) == "unable to get local issuer certificate"


@VERSIONS
def test_who_trusts_has_no_words(version: int, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    issued = authority.issue("localhost")
    server = SSL.Context(SSL.TLS_SERVER_METHOD)
    server.use_certificate_chain_file(str(issued.chain))
    server.use_privatekey_file(str(issued.key))
    root = x509.load_pem_x509_certificate(authority.root.cert_pem.bytes())
    pair = Pair(verifying(version, root), server).shake_hands()
    assert takeover.mistrust(pair.client) == ""
    assert takeover.mistrust(pair.server) == ""


@pytest.mark.parametrize("missing", ["SSL_get_verify_result", "X509_verify_cert_error_string"])
def test_where_names_have_changed_nobody_knows_why(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    pair = Pair(verifying(TLS_1_3))
    with pytest.raises(SSL.Error):
        pair.shake_hands()
    without(monkeypatch, missing)
    assert takeover.mistrust(pair.client) == ""
    monkeypatch.undo()
    assert takeover.mistrust(types.SimpleNamespace()) == ""  # type: ignore[arg-type]  # a pyOpenSSL to come


# Groups.


def choosing(files: Issued) -> SSL.Context:
    """A server's context with our groups; its certificate is RSA's, which binds no curve."""
    made = SSL.Context(SSL.TLS_SERVER_METHOD)
    made.use_certificate_chain_file(str(files.chain))
    made.use_privatekey_file(str(files.key))
    made.set_cipher_list(b"DHE+AESGCM:ECDHE+AESGCM")
    takeover.choose_groups(made)
    return made


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Issued:
    return Authority(tmp_path_factory.mktemp("groups")).issue("localhost", key_type=RSA)


def agreed(files: Issued, groups: str, version: int = TLS_1_3, server: SSL.Context | None = None) -> Pair:
    """A handshake with a client of these groups; those with a star bring a share."""
    server = server or choosing(files)
    how = context(version=version)
    assert _rust._openssl.lib.SSL_CTX_set1_curves_list(how._context, groups.encode()) == 1
    return Pair(how, server).shake_hands()


POST_QUANTUM = "X25519MLKEM768"


@pytest.mark.parametrize(
    ("groups", "group", "flights"),
    [
        ("*X25519", "x25519", 2),
        ("*P-256", "secp256r1", 2),
        ("*P-384", "secp384r1", 2),
        # One share is enough, be it the one that the client likes less.
        ("*X25519:P-256:P-384", "x25519", 2),
        ("*P-256:X25519:P-384", "secp256r1", 2),
        # As browsers do it, in either order.
        (f"*{POST_QUANTUM}:*X25519:P-256", POST_QUANTUM, 2),
        (f"*X25519:*{POST_QUANTUM}:P-256", POST_QUANTUM, 2),
        # The rest of what a client knows is left out, at the cost of a flight.
        ("*P-521:X25519", "x25519", 3),
        ("*ffdhe3072:X25519", "x25519", 3),
    ],
)
def test_the_best_group_in_common_with_as_few_flights_as_can_be(
    files: Issued, groups: str, group: str, flights: int
) -> None:
    pair = agreed(files, groups)
    assert (pair.server.get_group_name(), pair.flights) == (group, flights)


@pytest.mark.parametrize("groups", ["ffdhe2048", "ffdhe3072", "ffdhe8192", "P-521", "X448"])
def test_groups_that_cost_us_more_than_the_client_are_not_spoken(files: Issued, groups: str) -> None:
    """CVE-2002-20001, CVE-2022-40735."""
    with pytest.raises(SSL.Error, match="no suitable key share"):
        agreed(files, groups)


@pytest.mark.parametrize("groups", ["X25519", "P-256", "P-384"])
def test_tls_1_2_has_the_same_curves(files: Issued, groups: str) -> None:
    assert agreed(files, groups, SSL.TLS1_2_VERSION).flights == 2


def test_an_openssl_that_does_not_know_the_marks_gets_a_plain_list(
    files: Issued, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before 3.5."""
    real, asked = _rust._openssl.lib.SSL_CTX_set1_curves_list, []

    def older(inner: Any, groups: bytes) -> int:
        asked.append(groups)
        return 0 if b"?" in groups else int(real(inner, groups))

    without(monkeypatch, SSL_CTX_set1_curves_list=older)
    server = choosing(files)
    monkeypatch.undo()
    assert len(asked) == 2
    for groups, group in (("*X25519", "x25519"), ("*P-256", "secp256r1"), ("*P-384", "secp384r1")):
        assert agreed(files, groups, server=server).server.get_group_name() == group
    with pytest.raises(SSL.Error, match="no suitable key share"):
        agreed(files, "ffdhe2048", server=server)


def test_an_openssl_that_knows_neither_keeps_its_own_and_leaves_no_error_behind(
    files: Issued, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that stays in the queue would be told of somebody's handshake."""
    real = _rust._openssl.lib.SSL_CTX_set1_curves_list
    without(monkeypatch, SSL_CTX_set1_curves_list=lambda inner, groups: int(real(inner, b"::")))
    server = choosing(files)
    monkeypatch.undo()
    assert _rust._openssl.lib.ERR_peek_error() == 0
    assert agreed(files, "*P-521", server=server).server.get_group_name() == "secp521r1"


def test_the_list_that_is_taken_leaves_no_error_behind_either(files: Issued) -> None:
    choosing(files)
    assert _rust._openssl.lib.ERR_peek_error() == 0


def test_where_names_have_changed_the_groups_stay_as_they_are(files: Issued, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "SSL_CTX_set1_curves_list")
    server = choosing(files)
    monkeypatch.undo()
    takeover.choose_groups(types.SimpleNamespace())  # type: ignore[arg-type]  # a pyOpenSSL to come
    assert agreed(files, "*P-521", server=server).server.get_group_name() == "secp521r1"
