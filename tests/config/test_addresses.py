import re
from ipaddress import ip_network

import pytest

from wsrelay.config import addresses
from wsrelay.config.settings import SystemdAddress, TcpAddress, UnixAddress


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:443", TcpAddress("0.0.0.0", 443)),
        ("127.0.0.1:0", TcpAddress("127.0.0.1", 0)),
        ("[::]:443", TcpAddress("::", 443)),
        ("[2001:DB8:0:0::1]:80", TcpAddress("2001:db8::1", 80)),
        ("LocalHost:65535", TcpAddress("localhost", 65535)),
        ("unix:/run/a.sock", UnixAddress("/run/a.sock")),
        ("unix:a.sock", UnixAddress("a.sock")),
        ("systemd:wsrelay-https", SystemdAddress("wsrelay-https")),
    ],
)
def test_a_listener_takes_every_form_of_the_contract(text: str, address: object) -> None:
    assert addresses.listen_address(text) == address


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("443", 'expected "host:port", "[::]:port", "unix:/path" or "systemd:NAME", found "443" without a port'),
        ("[::1]", 'expected "host:port", "[::]:port", "unix:/path" or "systemd:NAME", found "[::1]" without a port'),
        (":443", 'expected a host name, found ""'),
        ("*:443", 'expected a host name, found "*"'),
        ("::1:443", 'expected an IPv6 address in brackets, such as "[::1]", found "::1"'),
        ("[::g]:443", 'expected a host name or an address, found "[::g]"'),
        ("[::1:443", 'expected an IPv6 address in brackets, such as "[::1]", found "[::1"'),
        ("1.2.3.256:80", 'expected a host name or an address, found "1.2.3.256"'),
        ("a..b:80", 'expected a host name, found "a..b"'),
        ("a.b.:80", 'expected a host name without a dot at the end, found "a.b."'),
        ("例子.cn:80", 'expected the ASCII form of the name (xn--fsqu00a.cn), found "例子.cn"'),
        (f"{'é' * 64}:80", f'expected the ASCII form of the name (xn--…), found "{"é" * 64}"'),
        ("a:65536", 'expected a port from 0 to 65535, found "65536"'),
        ("a:http", 'expected a port from 0 to 65535, found "http"'),
        ("a:", 'expected a port from 0 to 65535, found ""'),
        ("a:٣", 'expected a port from 0 to 65535, found "٣"'),
        ("unix:", 'expected a path after unix:, found ""'),
        ("systemd:", 'expected a FileDescriptorName= after systemd:, found ""'),
        ("systemd:a b", 'expected a FileDescriptorName= after systemd:, found "a b"'),
    ],
)
def test_what_is_no_address_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 (the whole text is compared)
        addresses.listen_address(text)
    assert str(refused.value) == complaint


def test_a_socket_path_that_the_kernel_cannot_hold_is_refused() -> None:
    assert addresses.server_address("unix:" + "x" * 107) == UnixAddress("x" * 107)
    with pytest.raises(ValueError, match="at most 107 bytes"):
        addresses.server_address("unix:" + "x" * 108)


@pytest.mark.parametrize("value", [443, ["a:1"], None])
def test_an_address_is_a_text(value: object) -> None:
    with pytest.raises(ValueError, match=r'^expected "host:port", "\[::1\]:port" or "unix:/path", found '):
        addresses.server_address(value)


def test_a_server_has_a_port_and_is_not_a_url_or_a_systemd_socket() -> None:
    with pytest.raises(ValueError, match="expected a port from 1 to 65535"):
        addresses.server_address("a:0")
    with pytest.raises(ValueError, match="found the URL .*; leave the scheme and the path out"):
        addresses.server_address("http://127.0.0.1:8888/")
    with pytest.raises(ValueError, match="expected a port"):
        addresses.server_address("systemd:x")


def test_a_server_may_have_a_name_of_a_container_network() -> None:
    assert addresses.server_address("My_App_1:80") == TcpAddress("my_app_1", 80)


@pytest.mark.parametrize(
    ("text", "network"),
    [("10.0.0.0/8", "10.0.0.0/8"), ("192.0.2.1", "192.0.2.1/32"), ("::1", "::1/128"), ("fd00::/8", "fd00::/8")],
)
def test_a_trusted_network_may_be_one_address(text: str, network: str) -> None:
    assert addresses.network(text) == ip_network(network)


def test_unix_clients_may_be_trusted() -> None:
    assert addresses.network("unix:") is None


def test_a_network_with_host_bits_is_refused_with_what_was_meant() -> None:
    with pytest.raises(ValueError, match=r'found "10.0.0.1/8"; did you mean "10.0.0.0/8"\?$'):
        addresses.network("10.0.0.1/8")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("::ffff:192.0.2.7", 'did you mean "192.0.2.7/32"?'),
        ("::ffff:10.0.0.0/104", 'did you mean "10.0.0.0/8"?'),
        ("fe80::1%eth0", "without a scope"),
    ],
)
def test_a_network_that_no_client_is_known_by_is_refused(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        addresses.network(text)


@pytest.mark.parametrize("value", ["localhost", "10.0.0.0/33", "", "unix:/x", 10, True])
def test_what_is_no_network_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r'^expected a network such as "10.0.0.0/8", an address or "unix:", found '):
        addresses.network(value)


def test_a_label_of_a_name_has_at_most_63_characters_and_the_name_253() -> None:
    assert addresses.host_name(".".join(["a" * 63] * 3)) == ".".join(["a" * 63] * 3)
    for name in ("a" * 64, ".".join(["a" * 63] * 4)):
        with pytest.raises(ValueError, match="expected a host name"):
            addresses.host_name(name)


@pytest.mark.parametrize(("host", "wild"), [("0.0.0.0", True), ("::", True), ("127.0.0.1", False), ("a", False)])
def test_only_the_unspecified_addresses_are_wildcards(host: str, wild: bool) -> None:
    assert addresses.is_wildcard(host) is wild
