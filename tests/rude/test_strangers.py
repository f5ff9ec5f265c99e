"""Greetings of other protocols, and TLS and plain HTTP each at the other's door: an answer in words where one can be
understood, silence where it cannot, and never a byte of them upstream.
"""

import ssl

import pytest

from tests.harness import HandTime, http
from tests.rude.scene import GET, HERE, PLAIN, TLS_1_2, TLS_1_3, VERSIONS
from tests.rude.tls_by_hand import TlsByHand
from tests.tls import Authority

SSH = b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"
# MS-RDPBCGR 2.2.1.1: a TPKT header and an X.224 connection request with a routing cookie.
RDP = b"\x03\x00\x00\x2b\x26\xe0\x00\x00\x00\x00\x00Cookie: mstshash=guest\r\n\x01\x00\x08\x00\x03\x00\x00\x00"
# RFC 9113 3.4, with an empty SETTINGS frame behind it.
H2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
# RFC 1928 3: one method, no authentication. And SOCKS 4.
SOCKS5, SOCKS4 = b"\x05\x01\x00", b"\x04\x01\x00\x50\xc0\x00\x02\x01guest\x00"
# The text protocol of memcached; and its binary one, a get.
MEMCACHED, MEMCACHED_BINARY = b"get /key\r\n", b"\x80\x00\x00\x03" + bytes(20) + b"key"
REDIS = b"*1\r\n$4\r\nPING\r\n"
# What a TLS client says is in the tests by hand; SSL 2's is a record of another kind.
SSL_2 = b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + bytes(37)
PROXY_1 = b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\n" + GET
PROXY_2 = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x12\x67\x01\xbb" + GET

GREETINGS = {
    "ssh": SSH,
    "rdp": RDP,
    "http 2": H2,
    "socks 5": SOCKS5,
    "socks 4": SOCKS4,
    "memcached": MEMCACHED,
    "memcached binary": MEMCACHED_BINARY,
    "redis": REDIS,
    "smtp": b"EHLO mail.example.com\r\n",
    "imap": b"a1 LOGIN guest guest\r\n",
    "ssl 2": SSL_2,
    "proxy 1": PROXY_1,
    "proxy 2": PROXY_2,
    "websocket frame": b"\x81\x85\x01\x02\x03\x04....x",
    "nul bytes": bytes(64),
    "http 0.9": b"GET /\r\n",
}
# Those that a strict parser refuses at once. The others begin like a request, and their lines end.
STATUS = {"http 2": 505}


@pytest.mark.parametrize("name", GREETINGS)
def test_another_protocols_greeting_on_the_plain_port_is_refused_in_words(scene, upstream, name):
    running = scene.open()
    client = scene.client()
    client.send(GREETINGS[name])
    running.settle()
    # Who greets and waits: SMTP's and IMAP's first line might yet become a head, and has its time.
    scene.over.passes(10)
    answer = client.ending()
    status = STATUS.get(name, 408 if answer.startswith(b"HTTP/1.1 408") else 400)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nX-Wsrelay-Reason: " in answer
    assert answer.count(b"\r\nConnection: close\r\n") == 1
    assert upstream.nobody_came()
    client.close()
    while running.sessions:
        pass


@pytest.mark.parametrize("name", GREETINGS)
@pytest.mark.parametrize("carrier", [TLS_1_2, TLS_1_3])
def test_another_protocols_greeting_inside_tls_is_refused_in_words_too(scene, upstream, name, carrier):
    running = scene.open(carrier)
    client = scene.client(carrier)
    client.send(GREETINGS[name])
    running.settle()
    scene.over.passes(10)
    answer = client.read_all()
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 408 ", b"HTTP/1.1 505 "))
    assert b"\r\nX-Wsrelay-Reason: " in answer
    assert upstream.nobody_came()


@pytest.mark.parametrize("name", GREETINGS)
@pytest.mark.parametrize("pump", ["reactor", "native"])
def test_another_protocols_greeting_on_the_tls_port_ends_that_session_and_no_other(scene, upstream, name, pump):
    running = scene.open(TLS_1_3, more=f'pump = "{pump}"\n')
    other = scene.client(TLS_1_3)
    other.send(HERE)
    other.read_until(b"here")
    client = running.connect()
    client.send(GREETINGS[name])
    if GREETINGS[name][:1].isupper():
        # It may be a request without TLS, and gets the answer to that.
        assert client.read_all().startswith(b"HTTP/1.1 400 ")
    else:
        running.settle()
        scene.over.passes(10)
        # An alert of TLS is no answer.
        assert client.ending()[:1] in (b"", b"\x15")
    client.close()
    while running.sessions > 1:
        pass
    other.send(HERE)
    other.read_until(b"here")
    assert upstream.nobody_came()


# Plain HTTP where TLS is spoken.


@pytest.mark.parametrize("pump", ["reactor", "native"])
@pytest.mark.parametrize("sent", [GET, GET[:1], GET.replace(b"GET", b"POST"), H2], ids=["GET", "G", "POST", "h2"])
def test_plain_http_on_the_tls_port_is_told_in_words_that_the_port_speaks_tls(scene, upstream, pump, sent):
    running = scene.open(TLS_1_3, more=f'pump = "{pump}"\n')
    client = running.connect()
    client.send(sent)
    answer = client.read_all()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nX-Wsrelay-Reason: plain-http" in head
    assert b"\r\nConnection: close" in head
    assert b"\r\nContent-Length: %d" % len(body) in head
    assert b"TLS" in body
    client.close()
    line = running.line(event="exchange")
    assert (line["status"], line["reason"], line["tls"]) == (400, "plain-http", None)
    assert upstream.nobody_came()
    while running.sessions:
        pass


def test_plain_http_on_the_tls_port_that_goes_on_and_on_is_let_go_after_linger(scene):
    running = scene.open(TLS_1_3)
    client = running.connect()
    client.send(GET.replace(b"GET", b"PUT")[:-2] + b"Content-Length: 99999999\r\n\r\n")
    client.read_until(b"plain-http")
    for _ in range(29):
        client.send(b"x" * 1000)
        running.settle()
        scene.over.passes(1)
    assert running.sessions == 1
    scene.over.passes(1)
    assert running.sessions == 0


def layer4(upstream, tls: str) -> str:
    return (
        f'[[listen]]\naddress = "127.0.0.1:0"\nmode = "tcp"\nupstream = "raw"\n{tls}\n'
        f'[[upstream]]\nname = "raw"\nservers = ["{upstream.address}"]\n'
    )


@pytest.mark.parametrize("name", [*GREETINGS, "http"])
def test_whatever_is_not_tls_at_layer_4_is_closed_without_an_answer(relay, upstream, tmp_path, name):
    """Nobody knows what its client would understand, so nobody says anything in the clear."""
    over = HandTime()
    running = relay(layer4(upstream, f"tls = [{Authority(tmp_path).issue('localhost').toml}]"), over)
    client = running.connect()
    client.send(GET if name == "http" else GREETINGS[name])
    running.settle()
    over.passes(10)
    # An alert of TLS is no answer.
    assert client.ending()[:1] in (b"", b"\x15")
    assert running.line(event="failed")["outcome"] in ("tls-failed", "tls-timeout")
    assert upstream.nobody_came()
    assert running.sessions == 0


@pytest.mark.parametrize("name", GREETINGS)
def test_a_layer_4_port_without_tls_passes_any_greeting_unread(relay, upstream, name):
    client = relay(layer4(upstream, "")).connect()
    client.send(GREETINGS[name])
    assert upstream.accept().read(len(GREETINGS[name])) == GREETINGS[name]


# TLS where plain HTTP is spoken.


@pytest.mark.parametrize("carrier", [TLS_1_2, TLS_1_3])
@pytest.mark.parametrize("kept", [False, True], ids=["first", "second"])
def test_tls_on_the_plain_port_is_told_so(scene, upstream, carrier, kept):
    scene.open(PLAIN)
    client = scene.client()
    server = scene.served(client) if kept else None
    client.send(TlsByHand(client, VERSIONS[carrier]).step())
    answer = client.read_all()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nX-Wsrelay-Reason: malformed-head\r\n" in answer
    assert b"TLS" in answer.partition(b"\r\n\r\n")[2]
    assert server is None or server.read_all() == b""
    assert upstream.nobody_came()


def test_a_tls_client_on_the_plain_port_sees_that_it_is_none(relay, upstream):
    running = relay(http(upstream))
    with pytest.raises(ssl.SSLError, match="(?i)wrong.version|record layer failure"):
        running.connect_tls(ssl._create_unverified_context())
    assert running.next_line()["reason"] == "malformed-head"
