"""PROXY lines that come in, layer 7: whose request it is then, for the upstream, for the log, and for every rule.

Public test files whose cases stand here or in the files named (each is rewritten, none copied):

    nginx-tests proxy_protocol.t, proxy_protocol2.t      GOOD of `proxied`; test_proxy_in_rules.py
    nginx-tests proxy_protocol2_tlv.t                    "v2 many tlvs"; TLS in the TLV
    nginx-tests proxy_protocol_ipv6.t                    test_proxy_in_rules.py
    nginx-tests proxy_protocol_unix.t                    test_proxy_in_rules.py, test_proxy_in_layer4.py
    nginx-tests ssl_proxy_protocol.t, h2_ssl_proxy_protocol.t (but h2 itself)     test_proxy_in_tls.py
    nginx-tests h2_proxy_protocol.t, stream_status_variable.t (the broken line)   test_proxy_in_broken.py
    nginx-tests realip.t, realip_remote_addr.t           tests/core/test_forwarded.py; trusted addresses in lines here
    nginx-tests stream_*.t                               test_proxy_in_layer4.py, test_proxy_out.py
    haproxy reg-tests connection/proxy_protocol_tlv_validation.vtc     "v2 authority"; test_proxy_in_broken.py
    haproxy reg-tests sample_fetches/tlvs.vtc, stream/unique-id-from-proxy.vtc    GOOD of `proxied`
    haproxy reg-tests http-rules/converters_ipmask_concat_strcmp_field_word.vtc   test_proxy_in_rules.py
    haproxy reg-tests connection/http_reuse_conn_hash.vtc, connection/cli_src_dst.vtc     test_proxy_out.py
    haproxy reg-tests connection/proxy_protocol_random_fail.vtc, connection/proxy_protocol_send_*.vtc,
        server/cli_add_check_server.vtc, seamless-reload/abns_socket.vtc    tests/e2e/test_proxy_protocol.py

Not ours: mail_proxy_protocol.t (mail); stream_geoip.t, stream_upstream_hash.t (what nginx does with the address).
"""

import socket

import pytest

from tests.harness import SWITCHED, UPGRADE, RawServer, Wire
from tests.net.proxied import (
    FORGED,
    GET,
    GOOD,
    LAST,
    OK,
    OTHER,
    PROXY,
    Start,
    arrived,
    edge,
    named,
    part,
    serve,
    told,
)
from tests.proxylines import SOURCE, Line, crc32c, local, read_line, ssl_tlv, tlv, v1, v2, with_checksum

NAMES = [name for name, _, _ in GOOD]

# Which lines are read, and as what.


@pytest.mark.parametrize(("line", "address"), [good[1:] for good in GOOD], ids=NAMES)
def test_client_is_whom_the_line_names_or_the_connection_itself(
    relay: Start, upstream: RawServer, line: bytes, address: str
) -> None:
    running = relay(edge(upstream))
    fields, client = serve(running, upstream, [line + GET])
    assert part(fields, named(address)) == named(address)
    logged = running.next_line()
    assert (logged["status"], logged["real_ip"]) == (200, address)
    assert logged["client"] == f"{PROXY}:{client.socket.getsockname()[1]}"


@pytest.mark.parametrize(("line", "address"), [good[1:] for good in GOOD if len(good[1]) < 300], ids=lambda _: "")
def test_line_may_come_byte_by_byte(relay: Start, upstream: RawServer, line: bytes, address: str) -> None:
    pieces = [bytes([byte]) for byte in line + GET[:4]]
    fields, _ = serve(relay(edge(upstream)), upstream, [*pieces, GET[4:]])
    assert part(fields, named(address)) == named(address)


@pytest.mark.parametrize("line", [v1(), v2(tlv(0x02, b"app.example"))], ids=["v1", "v2"])
def test_line_may_be_cut_anywhere(relay: Start, upstream: RawServer, line: bytes) -> None:
    running = relay(edge(upstream))
    for cut in range(1, len(line) + 2):
        fields, client = serve(running, upstream, [line[:cut], line[cut:] + GET] if cut <= len(line) else [line, GET])
        assert fields[b"x-real-ip"] == SOURCE.encode()
        client.close()


def test_checksum_that_is_right_is_fine(relay: Start, upstream: RawServer) -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the well-known check value: the test can count
    fields, _ = serve(relay(edge(upstream)), upstream, [with_checksum(v2(tlv(0x02, b"a"))) + GET])
    assert fields[b"x-real-ip"] == SOURCE.encode()


def test_reader_of_these_tests_reads_what_they_make() -> None:
    near, far = socket.socketpair()
    with near, far:
        wire = Wire(far)
        near.sendall(v1() + v2(tlv(2, b"a"), ssl_tlv(tlv(0x21, b"TLSv1.3"))) + local() + b"PROXY UNKNOWN\r\n!")
        assert read_line(wire) == Line(1, 1, SOURCE, "192.0.2.2", (123, 5678))
        second = read_line(wire)
        assert (second.source, second.ports, second.tlvs[2]) == (SOURCE, (123, 5678), b"a")
        assert second.ssl is not None
        assert second.ssl.inside == {0x21: b"TLSv1.3"}
        assert read_line(wire) == Line(2, 0)
        assert read_line(wire) == Line(1)
        assert wire.read(1) == b"!"


# What comes behind the line.


def test_pipelined_requests_behind_the_line_are_all_of_its_client(relay: Start, upstream: RawServer) -> None:
    running = relay(edge(upstream))
    client = running.connect()
    client.send(v1() + GET + GET + LAST)
    server = upstream.accept()
    assert [arrived(server)[b"x-real-ip"] for _ in range(2)] == [SOURCE.encode()] * 2
    fields = told(server.read_head())
    assert fields[b"x-forwarded-for"] == SOURCE.encode()
    server.send(OK)
    assert client.read_all().count(b"HTTP/1.1 200 ") == 3
    assert [running.next_line()["real_ip"] for _ in range(3)] == [SOURCE] * 3
    assert upstream.nobody_came()


def test_body_behind_the_line_arrives_whole(relay: Start, upstream: RawServer) -> None:
    client = relay(edge(upstream)).connect()
    client.send(v2() + b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n" + b"PROXY " * 10)
    client.send(b"x" * (70000 - 60))
    server = upstream.accept()
    server.read_head()
    assert server.read(70000) == b"PROXY " * 10 + b"x" * (70000 - 60)


def test_later_requests_of_the_connection_are_the_same_clients(relay: Start, upstream: RawServer) -> None:
    running = relay(edge(upstream))
    client = running.connect()
    client.send(v1() + GET)
    server = upstream.accept()
    for _ in range(3):
        assert part(arrived(server), named(SOURCE)) == named(SOURCE)
        assert client.read(len(OK)) == OK
        client.send(FORGED)
    assert part(told(server.read_head()), named(SOURCE)) == named(SOURCE)


def test_upgrade_behind_the_line_becomes_a_tunnel(relay: Start, upstream: RawServer) -> None:
    running = relay(edge(upstream))
    client = running.connect()
    client.send(v2() + UPGRADE + b"\x81\x85....early")
    server = upstream.accept()
    assert part(told(server.read_head()), named(SOURCE)) == named(SOURCE)
    server.send(SWITCHED + b"first")
    client.read_head()
    assert server.read(11) == b"\x81\x85....early"
    assert client.read(5) == b"first"
    client.finish()
    server.finish()
    for event in ("open", "close"):
        line = running.next_line()
        assert (line["event"], line["real_ip"]) == (event, SOURCE)


def test_second_line_is_no_line_any_more(relay: Start, upstream: RawServer) -> None:
    running = relay(edge(upstream))
    client = running.connect()
    client.send(v1() + v1(OTHER) + GET)
    assert client.read_all().startswith(b"HTTP/1.1 400 ")
    line = running.next_line()
    assert (line["reason"], line["real_ip"]) == ("malformed-head", SOURCE)
    assert upstream.nobody_came()


def test_what_stands_behind_a_block_of_version_2_is_no_part_of_it(relay: Start, upstream: RawServer) -> None:
    running = relay(edge(upstream))
    client = running.connect()
    client.send(v2(tlv(0x02, b"12345")) + tlv(0x02, b"54321") + GET)
    assert client.read_all().startswith(b"HTTP/1.1 400 ")
    assert running.next_line()["reason"] == "malformed-head"
    assert upstream.nobody_came()


# Who is believed, and about what.


def test_what_a_client_behind_the_line_says_of_itself_is_not_believed(relay: Start, upstream: RawServer) -> None:
    fields, _ = serve(relay(edge(upstream)), upstream, [v1() + FORGED])
    assert part(fields, named(SOURCE)) == named(SOURCE)


@pytest.mark.parametrize("line", [b"PROXY UNKNOWN\r\n", local(), v2(ssl_tlv(), command=0)], ids=["v1", "v2", "tls"])
def test_forged_fields_behind_a_line_without_an_address_are_not_believed(
    relay: Start, upstream: RawServer, line: bytes
) -> None:
    """The connection's own address is a trusted proxy's, but whoever speaks through it is not known."""
    running = relay(edge(upstream))
    fields, client = serve(running, upstream, [line + FORGED])
    assert part(fields, named(PROXY)) == named(PROXY)
    assert running.next_line()["real_ip"] == PROXY
    client.send(FORGED)
    client.close()


def test_proxy_that_a_line_names_is_believed_where_it_is_trusted_itself(relay: Start, upstream: RawServer) -> None:
    trusting = f'trusted_proxies = ["{PROXY}", "{SOURCE}"]\n'
    running = relay(edge(upstream, trusting=trusting))
    fields, _ = serve(running, upstream, [v1() + FORGED])
    assert fields[b"x-real-ip"] == b"203.0.113.66"
    assert fields[b"x-forwarded-for"] == f"203.0.113.66, {SOURCE}".encode()
    assert fields[b"x-forwarded-proto"] == b"https"
    assert running.next_line()["real_ip"] == "203.0.113.66"


@pytest.mark.parametrize(
    ("line", "scheme"),
    [
        (v2(ssl_tlv(tlv(0x21, b"TLSv1.3"), tlv(0x23, b"TLS_AES_128_GCM_SHA256"))), b"https"),
        (v2(tlv(0x01, b"h2"), tlv(0x02, b"a"), ssl_tlv(client=7, verify=0)), b"https"),
        (v2(ssl_tlv(client=0)), b"http"),
        (v2(ssl_tlv(client=6)), b"http"),
        (v2(tlv(0xE0, b"\x20\x00\x05\x01\x00\x00\x00\x00")), b"http"),
        (v1(ports=(123, 443)), b"http"),
    ],
    ids=["tls", "tls with a certificate", "none", "a certificate without tls", "in another tlv", "port 443"],
)
def test_scheme_is_what_the_tlv_about_tls_says(relay: Start, upstream: RawServer, line: bytes, scheme: bytes) -> None:
    fields, _ = serve(relay(edge(upstream)), upstream, [line + GET])
    assert fields[b"x-forwarded-proto"] == scheme
    assert fields[b"x-real-ip"] == SOURCE.encode()


@pytest.mark.parametrize("first", [v1() + GET, GET, b""], ids=["line", "request", "nothing"])
def test_who_is_no_trusted_proxy_is_turned_away_at_once(relay: Start, upstream: RawServer, first: bytes) -> None:
    running = relay(edge(upstream))
    client = running.connect(source="127.0.0.2")
    if first:
        client.send(first)
    assert client.ending() == b""
    line = running.next_line()
    assert (line["event"], line["reason"]) == ("failed", "proxy-untrusted")
    assert line["client"].startswith("127.0.0.2:")
    assert upstream.nobody_came()
