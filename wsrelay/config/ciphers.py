"""Lists of cipher suites for TLS 1.2, as OpenSSL writes them: read by OpenSSL itself, judged by what they select."""

import re
from collections.abc import Iterator

from OpenSSL import SSL

from wsrelay.config.certificates import KeyType
from wsrelay.config.settings import TlsPolicy
from wsrelay.config.units import seen

OURS = TlsPolicy().ciphers
"""What holds where nothing is said."""

_SEPARATORS = re.compile(r"[:,; ]+")
# Suites that need a shared secret, a password file or a DSA key, none of which a listener has.
_UNUSABLE = re.compile(r"PSK|SRP|-DSS-")
_OF_TLS_1_3 = re.compile(r"TLS_(?:AES|CHACHA20)_")
# By OpenSSL's names: without authentication, so anybody can stand between; without encryption.
_NO_PROTECTION = re.compile(r"^A(?:EC)?DH-|NULL")
_AEAD = re.compile(r"GCM|CCM|POLY1305")
# Below OpenSSL's own level, which is 2: SSL_CTX_set_security_level(3).
_LOW_LEVEL = re.compile(r"@SECLEVEL=[01]")
_SHOWN = 5


def ciphers(value: object) -> str:
    """A list that selects something which a listener can use with its certificates."""
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise ValueError(f'expected a list of OpenSSL such as "{OURS}", found {seen(value)}')
    selected = _selected(value)
    if selected is None:
        hint = "; suites of TLS 1.3 are always there, and are not listed" if _OF_TLS_1_3.search(value) else ""
        raise ValueError(f'expected a list of OpenSSL such as "{OURS}", found {seen(value)}, which has no suite{hint}')
    usable = _usable(selected)
    if not usable:
        raise ValueError(f"expected suites for RSA or ECDSA certificates, found {seen(value)}, which has none")
    open_suites = [suite for suite in usable if _NO_PROTECTION.search(suite)]
    if open_suites:
        raise ValueError(
            f"expected no suite without authentication or encryption, found {_listed(open_suites)};"
            " add :!aNULL:!eNULL to the list"
        )
    return value


def doubts(value: str) -> Iterator[str]:
    """Say what is weak or useless in a list that `ciphers` has taken."""
    for element in _SEPARATORS.split(value):
        if _OF_TLS_1_3.match(element):
            yield f"{element} has no effect: the suites of TLS 1.3 are always there"
        elif element and element[0] not in "!-+@" and _selected(element) is None:
            yield f"{seen(element)} has no effect: this OpenSSL has no such suite"
    if _LOW_LEVEL.search(value):
        yield "@SECLEVEL below 2 takes keys and signatures that are too weak, in TLS 1.3 too"
    usable = _usable(_selected(value) or ())
    if static := [suite for suite in usable if not suite.startswith(("ECDHE-", "DHE-"))]:
        yield f"no forward secrecy, so a stolen key opens what was recorded before: {_listed(static)} (RFC 9325 4.1)"
    if not_aead := [suite for suite in usable if not _AEAD.search(suite)]:
        yield f"no AEAD, but CBC and what is known against it: {_listed(not_aead)} (RFC 9325 4.2)"


def serves(value: str, key_type: KeyType) -> bool:
    """Whether clients of TLS 1.2 can reach a certificate with a key of this type by the suites of a list."""
    ecdsa = key_type is not KeyType.RSA  # RFC 8422 5.10: EdDSA goes by the names of ECDSA
    return any(("-ECDSA-" in suite) is ecdsa for suite in _usable(_selected(value) or ()))


def _selected(value: str) -> tuple[str, ...] | None:
    """Names of the suites of TLS 1.2 in order of preference; None where OpenSSL does not take the list."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    try:
        context.set_cipher_list(value.encode())
    except SSL.Error:
        return None
    return tuple(suite for suite in SSL.Connection(context).get_cipher_list() if not suite.startswith("TLS_"))


def _usable(suites: tuple[str, ...]) -> list[str]:
    return [suite for suite in suites if not _UNUSABLE.search(suite)]


def _listed(suites: list[str]) -> str:
    more = f" and {len(suites) - _SHOWN} more" if len(suites) > _SHOWN else ""
    return ", ".join(suites[:_SHOWN]) + more
