from ipaddress import ip_network

import pytest

from wsrelay.config.networks import Networks
from wsrelay.core.forwarded import ClientFacts, identity_lines, real_ip
from wsrelay.core.head import HeadLimits, RequestHead, RequestReader

OURS = Networks((ip_network("10.0.0.0/8"), ip_network("fd00::/8")), unix=True)


def request(*lines: bytes, start: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: Example.com:8443") -> RequestHead:
    written = b"\r\n".join(line for line in (start, host, *lines) if line)
    head = RequestReader(HeadLimits(64 * 1024, 128)).feed(written + b"\r\n\r\n")
    assert head is not None
    return head


def facts(address: str, *, secure: bool = True) -> ClientFacts:
    return ClientFacts.of(address, secure=secure, proxies=OURS)


def lines(head: RequestHead, client: ClientFacts) -> dict[bytes, bytes]:
    pairs = [line.split(b": ", 1) for line in identity_lines(head, client)]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("fe80::1%eth0", "fe80::1"),
        ("unix:", "unix:"),
    ],
)
def test_a_client_address_has_one_spelling(given, kept):
    assert facts(given).address == kept


def test_what_is_no_address_makes_no_facts():
    with pytest.raises(ValueError, match="not an IP address"):
        facts("example.com")


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("fd00::7", True),
        ("unix:", True),
        ("11.0.0.1", False),
        ("2001:db8::1", False),
    ],
)
def test_a_client_is_trusted_by_its_network(address, trusted):
    assert facts(address).trusted is trusted


def test_nobody_is_trusted_by_default():
    nobody = Networks()
    for address in ("127.0.0.1", "::1", "unix:", "10.0.0.1"):
        assert not ClientFacts.of(address, secure=False, proxies=nobody).trusted


def test_an_address_seen_before_is_judged_by_the_networks_of_its_own_listener():
    """What is remembered of an address is how it reads, not who trusts it."""
    for proxies, trusted in ((OURS, True), (Networks(), False), (OURS, True)):
        assert ClientFacts.of("10.1.2.3", secure=False, proxies=proxies).trusted is trusted


def test_an_untrusted_client_is_described_by_its_connection_alone():
    """HDR-01a, RFC 7239 8.1."""
    head = request(
        b"X-Real-IP: 127.0.0.1",
        b"X-Forwarded-For: 127.0.0.1",
        b"X-Forwarded-Proto: http",
        b"X-Forwarded-Host: admin.internal",
    )
    assert lines(head, facts("203.0.113.9")) == {
        b"X-Real-IP": b"203.0.113.9",
        b"X-Forwarded-For": b"203.0.113.9",
        b"X-Forwarded-Proto": b"https",
        b"X-Forwarded-Host": b"Example.com:8443",
    }


@pytest.mark.parametrize(("secure", "scheme"), [(True, b"https"), (False, b"http")])
def test_the_scheme_is_that_of_http_even_for_a_websocket(secure, scheme):
    head = request(b"Upgrade: websocket", b"Connection: upgrade")
    assert lines(head, facts("203.0.113.9", secure=secure))[b"X-Forwarded-Proto"] == scheme


def test_a_client_that_names_no_host_gets_no_forwarded_host():
    head = request(b"X-Forwarded-Host: a", start=b"GET / HTTP/1.0", host=b"")
    assert b"X-Forwarded-Host" not in lines(head, facts("203.0.113.9"))


def test_a_client_on_a_unix_socket_is_named_as_nginx_names_it():
    described = lines(request(), ClientFacts.of("unix:", secure=False, proxies=Networks()))
    assert (described[b"X-Real-IP"], described[b"X-Forwarded-For"]) == (b"unix:", b"unix:")


def test_a_trusted_client_is_appended_to_its_chain():
    head = request(b"X-Forwarded-For: 198.51.100.7, 203.0.113.9", b"X-Forwarded-For: 10.9.9.9")
    described = lines(head, facts("10.0.0.1"))
    assert described[b"X-Forwarded-For"] == b"198.51.100.7, 203.0.113.9, 10.9.9.9, 10.0.0.1"
    assert described[b"X-Real-IP"] == b"203.0.113.9"


def test_an_empty_chain_is_begun_not_appended_to():
    assert lines(request(b"X-Forwarded-For:"), facts("10.0.0.1"))[b"X-Forwarded-For"] == b"10.0.0.1"


@pytest.mark.parametrize(
    ("said", "passed"),
    [
        ([b"https"], b"https"),
        ([b"HTTPS"], b"https"),
        ([b"wss"], b"https"),
        ([], b"http"),
        ([b""], b"http"),
        ([b"ftp"], b"http"),
        ([b"https, http"], b"http"),
        ([b"https", b"https"], b"http"),
    ],
)
def test_the_scheme_of_a_trusted_client_passes_where_it_is_one_of_http(said, passed):
    head = request(*[b"X-Forwarded-Proto: " + value for value in said])
    assert lines(head, facts("10.0.0.1", secure=False))[b"X-Forwarded-Proto"] == passed


@pytest.mark.parametrize("said", [b"http", b"HTTP", b"ws"])
def test_the_scheme_of_a_trusted_client_passes_even_where_ours_is_another(said):
    assert lines(request(b"X-Forwarded-Proto: " + said), facts("10.0.0.1"))[b"X-Forwarded-Proto"] == b"http"


@pytest.mark.parametrize(
    ("said", "passed"),
    [
        ([b"shop.example"], b"shop.example"),
        ([], b"Example.com:8443"),
        ([b""], b"Example.com:8443"),
        ([b"a.example", b"b.example"], b"Example.com:8443"),
    ],
)
def test_the_host_of_a_trusted_client_passes_where_there_is_one(said, passed):
    head = request(*[b"X-Forwarded-Host: " + value for value in said])
    assert lines(head, facts("10.0.0.1"))[b"X-Forwarded-Host"] == passed


@pytest.mark.parametrize(
    ("chain", "real"),
    [
        (b"", "10.0.0.1"),
        (b"203.0.113.9", "203.0.113.9"),
        (b"127.0.0.1, 203.0.113.9", "203.0.113.9"),  # what stands left of it may be invented
        (b"203.0.113.9, 10.0.0.2 ,\t10.0.0.3", "203.0.113.9"),
        (b"203.0.113.9, , 10.0.0.2,", "203.0.113.9"),
        (b"2001:DB8::1", "2001:db8::1"),
        (b"[2001:db8::1]", "2001:db8::1"),
        (b"[2001:db8::1]:443", "2001:db8::1"),
        (b"203.0.113.9:51234", "203.0.113.9"),
        (b"203.0.113.9, ::ffff:10.0.0.2", "203.0.113.9"),
        (b"203.0.113.9, fd00::1, 10.0.0.2", "203.0.113.9"),
        (b"10.0.0.3, 10.0.0.2", "10.0.0.3"),  # all trusted: the farthest
    ],
)
def test_the_real_client_is_the_right_most_untrusted_address(chain, real):
    assert real_ip(request(b"X-Forwarded-For: " + chain), facts("10.0.0.1")) == real


@pytest.mark.parametrize(
    "junk",
    [
        b"unknown",
        b"unix:",
        b"example.com",
        b"203.0.113.999",
        b"203.0.113.09",
        b"203.0.113.9:",
        b"203.0.113.9:123456",
        b"2001:db8::1:::",
        b"[2001:db8::1",
        b"fe80::1%eth0",
        b"fe80::1%<script>",
        b"203.0.113.9 203.0.113.9",
        b"for=203.0.113.9",
        b"1" * 5000,
    ],
)
def test_junk_in_the_chain_ends_the_walk(junk):
    head = request(b"X-Forwarded-For: 203.0.113.9, %b, 10.0.0.2" % junk)
    assert real_ip(head, facts("10.0.0.1")) == "10.0.0.2"


def test_the_walk_has_an_end():
    head = request(b"X-Forwarded-For: 198.51.100.7,203.0.113.9" + b",10.0.0.2" * 32)
    assert real_ip(head, facts("10.0.0.1")) == "10.0.0.2"
    head = request(b"X-Forwarded-For: 203.0.113.9" + b",10.0.0.2" * 32)
    assert real_ip(head, facts("10.0.0.1")) == "203.0.113.9"


def test_an_untrusted_client_is_its_own_real_address():
    assert real_ip(request(b"X-Forwarded-For: 198.51.100.7"), facts("203.0.113.9")) == "203.0.113.9"


def test_a_trusted_local_proxy_on_a_unix_socket_names_the_real_client():
    assert real_ip(request(b"X-Forwarded-For: 203.0.113.9"), facts("unix:")) == "203.0.113.9"
