"""Taking a leg away from Python: its descriptor, and under TLS OpenSSL's own object. Every private name is in here.

cryptography links an OpenSSL of its own and shows no C interface to it, and pyOpenSSL does not give its `SSL *` away.
Both keep what this file uses under private names, so it is tried once at the start; what fails there is said, and the
reactor pump serves. Made with pyOpenSSL 26.4 and cryptography 50.
"""

import attrs
import OpenSSL
from OpenSSL import SSL

from wsrelay.net.legs import Leg, Taken

# Of OpenSSL, by its own names; `wsrelay/pump/pump.h` says what for.
FUNCTIONS = (
    "SSL_do_handshake",
    "SSL_read",
    "SSL_write",
    "SSL_get_error",
    "SSL_pending",
    "SSL_shutdown",
    "SSL_free",
    "ERR_peek_error",
    "ERR_get_error",
    "ERR_clear_error",
)


# OpenSSL's own order since 3.5, without the end of it. SSL_CTX_set1_groups_list(3) explains the marks; a group with `?`
# may be unknown.
_GROUPS = b"?X25519MLKEM768 / ?X25519:?secp256r1 / ?secp384r1"
_OLDER_GROUPS = b"X25519:P-256:P-384"


class CannotTakeOver(Exception):
    """The installed pyOpenSSL or cryptography keeps these things elsewhere; the text says which is missing."""


def take(leg: Leg) -> Taken:
    """Leave nothing of a leg in Python. It must be paused, its handshake done."""
    if leg.connection is not None:
        ssl = _disown(leg.connection)
        return attrs.evolve(leg.detach(), ssl=ssl)
    return leg.detach()


def functions() -> dict[str, int]:
    """The addresses of OpenSSL's functions, after a trial of all this file does.

    Raises:
        CannotTakeOver: Something is not where it used to be.
    """
    try:
        from cryptography.hazmat.bindings._rust import _openssl

        no_such_type = _openssl.ffi.error
    except (ImportError, AttributeError) as error:
        raise CannotTakeOver(f"pyOpenSSL {OpenSSL.__version__} has changed: {error}") from error
    try:
        addresses = _addresses()
        _try(addresses)
    except (AttributeError, TypeError, ValueError, no_such_type) as error:
        raise CannotTakeOver(f"pyOpenSSL {OpenSSL.__version__} has changed: {error}") from error
    return addresses


def address_of(connection: SSL.Connection) -> int:
    """The address of a connection's `SSL`, which stays its own."""
    from cryptography.hazmat.bindings._rust import _openssl

    return int(_openssl.ffi.cast("uintptr_t", connection._ssl))


def text_of(error: int) -> str:
    """What an error of OpenSSL says."""
    from cryptography.hazmat.bindings._rust import _openssl

    text = _openssl.lib.ERR_reason_error_string(error)
    return _openssl.ffi.string(text).decode() if text != _openssl.ffi.NULL else "unknown TLS error"


def read_no_further(connection: SSL.Connection) -> None:
    """Have a read end behind a record without data; otherwise it goes on through thousands of them in one turn.

    pyOpenSSL switches that on for programs that wait for no event (SSL_MODE_AUTO_RETRY). Where its names have changed
    it stays on.
    """
    from cryptography.hazmat.bindings._rust import _openssl

    lib, ssl = _openssl.lib, getattr(connection, "_ssl", None)
    if ssl is not None and hasattr(lib, "SSL_clear_mode"):
        lib.SSL_clear_mode(ssl, lib.SSL_MODE_AUTO_RETRY)


def resumed(connection: SSL.Connection) -> bool:
    """Whether a handshake went on from an earlier session; False where nobody can tell any more."""
    from cryptography.hazmat.bindings._rust import _openssl

    ssl = getattr(connection, "_ssl", None)
    return bool(
        ssl is not None and hasattr(_openssl.lib, "SSL_session_reused") and _openssl.lib.SSL_session_reused(ssl)
    )


def mistrust(connection: SSL.Connection) -> str:
    """What was wrong with the other end's certificate, after a handshake that failed for it; empty where not known."""
    from cryptography.hazmat.bindings._rust import _openssl

    ffi, lib, ssl = _openssl.ffi, _openssl.lib, getattr(connection, "_ssl", None)
    names = ("SSL_get_verify_result", "X509_verify_cert_error_string")
    if ssl is None or not all(hasattr(lib, name) for name in names):
        return ""
    number = lib.SSL_get_verify_result(ssl)
    return ffi.string(lib.X509_verify_cert_error_string(number)).decode() if number else ""


def choose_groups(context: SSL.Context) -> None:
    """Leave finite fields out of key exchange: one over ffdhe3072 costs us 22 of X25519.

    And what it costs its client is nothing (CVE-2002-20001, CVE-2022-40735). Where OpenSSL's names have changed, its
    own list stays.
    """
    from cryptography.hazmat.bindings._rust import _openssl

    lib, inner = _openssl.lib, getattr(context, "_context", None)
    if inner is None or not hasattr(lib, "SSL_CTX_set1_curves_list"):
        return
    if lib.SSL_CTX_set1_curves_list(inner, _GROUPS) != 1 and lib.SSL_CTX_set1_curves_list(inner, _OLDER_GROUPS) != 1:
        lib.ERR_clear_error()


def choose_protocol(context: SSL.Context, function: int) -> None:
    """Have ALPN answered by a C function, so that a handshake on a thread need not wait for Python."""
    from cryptography.hazmat.bindings._rust import _openssl

    ffi, lib = _openssl.ffi, _openssl.lib
    kind = "int (*)(SSL *, const unsigned char **, unsigned char *, const unsigned char *, unsigned int, void *)"
    lib.SSL_CTX_set_alpn_select_cb(context._context, ffi.cast(kind, function), ffi.NULL)


def take_name(context: SSL.Context, function: int) -> None:
    """Have a client's server name taken by a C function, for the same reason."""
    from cryptography.hazmat.bindings._rust import _openssl

    ffi, lib = _openssl.ffi, _openssl.lib
    kind = "int (*)(SSL *, int *, void *)"
    lib.SSL_CTX_set_tlsext_servername_callback(context._context, ffi.cast(kind, function))


def _addresses() -> dict[str, int]:
    from cryptography.hazmat.bindings._rust import _openssl

    ffi, lib = _openssl.ffi, _openssl.lib
    return {name: int(ffi.cast("uintptr_t", ffi.addressof(lib, name))) for name in FUNCTIONS}


def _disown(connection: SSL.Connection) -> int:
    """The address of a connection's `SSL`, which nobody frees from now on."""
    from cryptography.hazmat.bindings._rust import _openssl

    _openssl.ffi.gc(connection._ssl, None)
    return address_of(connection)


def _try(addresses: dict[str, int]) -> None:
    """Take an `SSL` away from a connection without a socket, and use it through the addresses."""
    from cryptography.hazmat.bindings._rust import _openssl

    ffi = _openssl.ffi
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    choose_protocol(context, 0)
    take_name(context, 0)
    text_of(0)
    connection = SSL.Connection(context, None)
    ssl = ffi.cast("void *", _disown(connection))
    del connection
    pending = ffi.cast("int (*)(void *)", addresses["SSL_pending"])(ssl)
    ffi.cast("void (*)(void *)", addresses["SSL_free"])(ssl)
    if pending != 0:
        raise ValueError("a new connection holds bytes")
