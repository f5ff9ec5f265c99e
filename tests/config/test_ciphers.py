"""Lists of cipher suites (`ciphers`): OpenSSL reads them, and says nothing about most slips."""

import re

import pytest

from wsrelay.config import ciphers
from wsrelay.config.certificates import KeyType


@pytest.mark.parametrize(
    "value",
    [
        ciphers.OURS,
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE+AESGCM:DHE+AESGCM:!kRSA:@STRENGTH",
        # In another proxy's configuration the commonest of all.
        "HIGH:!aNULL:!MD5",
        "ECDHE+AESGCM:RC4",
    ],
)
def test_a_list_that_selects_something_is_taken_as_it_is(value: str) -> None:
    assert ciphers.ciphers(value) == value


NO_SUITE = ", which has no suite"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("ECDHE+AESGMC", f'expected a list of OpenSSL such as "{ciphers.OURS}", found "ECDHE+AESGMC"{NO_SUITE}'),
        ("", f'expected a list of OpenSSL such as "{ciphers.OURS}", found ""{NO_SUITE}'),
        ("!aNULL", f'expected a list of OpenSSL such as "{ciphers.OURS}", found "!aNULL"{NO_SUITE}'),
        ("ECDHE+AESGCM:@STRENGHT", f'expected a list of OpenSSL such as "{ciphers.OURS}", found "ECDHE+AESGCM:@STR'),
        ("ECDHE+AESGCM:@SECLEVEL=9", f'expected a list of OpenSSL such as "{ciphers.OURS}", found "ECDHE+AESGCM:@SEC'),
        ("ÉCDHE", f'expected a list of OpenSSL such as "{ciphers.OURS}", found "ÉCDHE"'),
        ("ECDHE+AESGCM\0", f'expected a list of OpenSSL such as "{ciphers.OURS}", found "ECDHE+AESGCM\\u0000"'),
        (["ECDHE+AESGCM"], f'expected a list of OpenSSL such as "{ciphers.OURS}", found an array'),
        (
            "TLS_AES_128_GCM_SHA256",
            f'expected a list of OpenSSL such as "{ciphers.OURS}", found "TLS_AES_128_GCM_SHA256"'
            f"{NO_SUITE}; suites of TLS 1.3 are always there, and are not listed",
        ),
        ("PSK+AESGCM:SRP", 'expected suites for RSA or ECDSA certificates, found "PSK+AESGCM:SRP", which has none'),
        (
            "ECDHE+AESGCM:AECDH-AES128-SHA",
            "expected no suite without authentication or encryption, found AECDH-AES128-SHA; add :!aNULL:!eNULL",
        ),
        (
            "ECDHE+AESGCM:NULL-SHA256",
            "expected no suite without authentication or encryption, found NULL-SHA256; add :!aNULL:!eNULL",
        ),
        ("ALL", "expected no suite without authentication or encryption, found ADH-"),
    ],
)
def test_a_list_that_would_serve_nobody_or_protect_nobody_is_refused(value: object, told: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(told)}"):
        ciphers.ciphers(value)


@pytest.mark.parametrize("value", [ciphers.OURS, "ECDHE+AESGCM:DHE+AESGCM", "ECDHE+AESGCM:!RC4:!nonsense:@STRENGTH"])
def test_there_is_no_doubt_about_a_good_list(value: str) -> None:
    assert list(ciphers.doubts(value)) == []


@pytest.mark.parametrize("separator", [":", ",", " "])
@pytest.mark.parametrize(
    ("value", "doubts"),
    [
        ("RC4", ['"RC4" has no effect: this OpenSSL has no such suite']),
        (
            "TLS_AES_128_GCM_SHA256",
            ["TLS_AES_128_GCM_SHA256 has no effect: the suites of TLS 1.3 are always there"],
        ),
        ("@SECLEVEL=1", ["@SECLEVEL below 2 takes keys and signatures that are too weak, in TLS 1.3 too"]),
        ("@SECLEVEL=3", []),
        (
            "AES128-GCM-SHA256",
            ["no forward secrecy, so a stolen key opens what was recorded before: AES128-GCM-SHA256 (RFC 9325 4.1)"],
        ),
        (
            "ECDHE-RSA-AES128-SHA",
            ["no AEAD, but CBC and what is known against it: ECDHE-RSA-AES128-SHA (RFC 9325 4.2)"],
        ),
    ],
)
def test_each_weak_or_useless_part_is_told(separator: str, value: str, doubts: list[str]) -> None:
    assert list(ciphers.doubts(f"ECDHE+AESGCM{separator}{value}")) == doubts


def test_a_long_list_of_weak_suites_is_cut() -> None:
    forward_secrecy, aead = ciphers.doubts("HIGH:!aNULL")
    assert re.search(r"before: (\S+, ){4}\S+ and \d+ more \(RFC", forward_secrecy)
    assert re.search(r"it: (\S+, ){4}\S+ and \d+ more \(RFC", aead)


@pytest.mark.parametrize(
    ("value", "rsa", "ecdsa"),
    [
        (ciphers.OURS, True, True),
        ("ECDHE-RSA-AES128-GCM-SHA256", True, False),
        ("AES128-GCM-SHA256", True, False),
        ("ECDHE-ECDSA-AES128-GCM-SHA256", False, True),
        # Neither a secret shared beforehand nor a DSA key is a certificate that a listener has.
        ("ECDHE-ECDSA-AES128-GCM-SHA256:RSA-PSK-AES128-GCM-SHA256:DHE-DSS-AES128-GCM-SHA256", False, True),
    ],
)
def test_a_certificate_is_served_by_suites_for_its_kind_of_key(value: str, rsa: bool, ecdsa: bool) -> None:
    served = {key_type: ciphers.serves(value, key_type) for key_type in KeyType}
    assert served == {KeyType.RSA: rsa, KeyType.ECDSA: ecdsa, KeyType.EDDSA: ecdsa}
