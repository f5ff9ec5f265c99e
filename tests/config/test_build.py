"""What becomes of keys that say little or nothing (`build`); that every key arrives is tested in test_load."""

from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from wsrelay.config import load
from wsrelay.config.settings import Passing, TcpAddress, TlsPolicy, Upstream, UpstreamTls

Load = Callable[[str], load.Loaded]


@pytest.mark.parametrize(
    ("lines", "policy", "hsts"),
    [
        ("", TlsPolicy(), b""),
        ('ciphers = "ECDHE+AESGCM"', TlsPolicy(ciphers="ECDHE+AESGCM"), b""),
        ('tls_min = "1.2"\nunknown_sni = "default"', TlsPolicy(), b""),
        ('client_ca = "/dev/../{folder}/clients.pem"', TlsPolicy(client_ca=Path("/dev/../{folder}/clients.pem")), b""),
        ('hsts = "1h"', TlsPolicy(), b"max-age=3600"),
        ("hsts = 0", TlsPolicy(), b"max-age=0"),
        ("hsts = {{ max_age = 60, preload = false }}", TlsPolicy(), b"max-age=60"),
        ('hsts = {{ max_age = "1m", include_subdomains = true }}', TlsPolicy(), b"max-age=60; includeSubDomains"),
    ],
)
def test_what_is_not_said_of_tls_is_as_it_is_best(
    pems: Path, loaded: Load, lines: str, policy: TlsPolicy, hsts: bytes
) -> None:
    text = '[[listen]]\naddress = "a:443"\ntls = [{ chain = "tls/fullchain.pem", key = "tls/privkey.pem" }]\n'
    text += lines.format(folder=pems) + '\n[[route]]\npath = "/"\nrespond = {}\n'
    if policy.client_ca is not None:
        policy = attrs.evolve(policy, client_ca=Path(str(policy.client_ca).format(folder=pems)))
    listener = loaded(text).settings.listeners[0]
    assert (listener.policy, listener.hsts, listener.passing) == (policy, hsts, Passing())


@pytest.mark.parametrize(
    ("said", "tls"),
    [
        ("", None),
        ("tls = {}", UpstreamTls()),
        ('tls = { server_name = "[2001:DB8::1]" }', UpstreamTls("2001:db8::1")),
    ],
)
def test_an_upstream_is_plain_unless_it_says_tls(loaded: Load, said: str, tls: UpstreamTls | None) -> None:
    text = '[[listen]]\naddress = "a:80"\n[[route]]\npath = "/"\nupstream = "u"\n'
    text += f'[[upstream]]\nname = "u"\nservers = ["a:1"]\n{said}\n'
    assert loaded(text).settings.upstreams == (Upstream("u", (TcpAddress("a", 1),), tls),)
