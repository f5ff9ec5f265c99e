"""Who a client says it is, and names that some readers take for others."""

import pytest

from tests.core.rewritten import FRIEND, IDENTITY, STRANGER, asked, kept, sent


@pytest.mark.parametrize(
    "name",
    [
        b"X-Real-IP",
        b"x-real-ip",
        b"X-Forwarded-For",
        b"X-Forwarded-Proto",
        b"X-Forwarded-Host",
        b"X-Forwarded-Port",
        b"X-Forwarded-Prefix",
        b"X-Forwarded-Server",
        b"X-Forwarded-Ssl",
        b"X-FORWARDED-ANYTHING",
        b"X-Forwarded",
        b"Forwarded",
    ],
)
def test_an_untrusted_client_says_nothing_of_who_it_is(name):
    """HDR-01a, HDR-01b."""
    assert sent(asked(name + b": 127.0.0.1")) == [(b"Host", b"example.com"), *IDENTITY]


def test_a_trusted_proxy_says_who_its_client_is():
    head = asked(
        b"X-Forwarded-For: 198.51.100.7",
        b"X-Real-IP: 1.1.1.1",
        b"X-Forwarded-Proto: wss",
        b"X-Forwarded-Host: shop.example",
        b"X-Forwarded-Port: 443",
        b"Forwarded: for=198.51.100.7",
    )
    assert sent(head, FRIEND) == [
        (b"Host", b"example.com"),
        (b"X-Forwarded-Port", b"443"),
        (b"Forwarded", b"for=198.51.100.7"),
        (b"X-Real-IP", b"198.51.100.7"),
        (b"X-Forwarded-For", b"198.51.100.7, 10.0.0.1"),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Host", b"shop.example"),
    ]


@pytest.mark.parametrize("facts", [STRANGER, FRIEND])
@pytest.mark.parametrize("upgrade", [True, False])
@pytest.mark.parametrize(
    "name",
    [
        b"X_Real_IP",
        b"x.real.ip",
        b"X_Real-IP",
        b"X!Real~IP",
        b"X_Forwarded_For",
        b"X-Forwarded_Proto",
        b"X.Forwarded.Host",
        b"X_Forwarded_Port",
        b"Transfer_Encoding",
        b"Content_Length",
        b"Content.Length",
        b"Proxy_Authorization",
        b"Keep_Alive",
        b"Sec_WebSocket_Key",
        b"Sec.WebSocket-Version",
    ],
)
def test_an_alias_of_a_field_of_ours_never_crosses(name, upgrade, facts):
    """HDR-02, CVE-2026-54763, CVE-2026-88011: not even from a trusted proxy, which may pass on its client's."""
    assert name.lower() not in kept(asked(name + b": 127.0.0.1"), facts, upgrade=upgrade)


@pytest.mark.parametrize("name", [b"X_Tenant", b"x.trace.id", b"X_Forward", b"real_ip"])
def test_other_names_with_odd_characters_cross(name):
    assert kept(asked(name + b": 1")) == [name.lower()]


@pytest.mark.parametrize("alias", [b"X_Tenant", b"x.tenant", b"X~Tenant"])
def test_an_alias_of_a_field_that_is_there_too_does_not_cross(alias):
    """Which of the two a reader takes depends on the reader, and often on their order."""
    for lines in ((alias + b": evil", b"X-Tenant: 1"), (b"X-Tenant: 1", alias + b": evil")):
        assert [field for field in sent(asked(*lines)) if b"enant" in field[0]] == [(b"X-Tenant", b"1")]


@pytest.mark.parametrize("name", [b"Remote_User", b"User_Agent", b"AUTHORIZATION_", b"Content.Type"])
def test_an_alias_of_a_name_that_matters_does_not_cross(name):
    assert (name.lower() in kept(asked(name + b": evil"))) is (name == b"AUTHORIZATION_")


CDNS = [b"CF-Connecting-IP", b"True-Client-IP", b"X-Client-IP", b"X-Original-URL", b"X-Rewrite-URL", b"x_original_url"]


@pytest.mark.parametrize("name", CDNS)
def test_what_only_a_hop_in_front_may_say_crosses_from_a_trusted_one_only(name):
    head = asked(name + b": 1")
    assert name.lower() not in kept(head)
    assert (name.lower() in kept(head, FRIEND)) is (b"_" not in name)
