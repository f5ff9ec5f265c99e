from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from wsrelay.config.networks import EVERYBODY, Access, Networks

V4 = st.builds(
    lambda number, length: IPv4Network((number, length), strict=False), st.integers(0, 2**32 - 1), st.integers(0, 32)
)
V6 = st.builds(
    lambda number, length: IPv6Network((number, length), strict=False), st.integers(0, 2**128 - 1), st.integers(0, 128)
)
ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


@given(st.lists(st.one_of(V4, V6), max_size=20), st.data())
def test_an_address_is_covered_if_one_of_the_networks_holds_it(networks, data):
    inside = [st.just(network[0]) for network in networks] + [st.just(network[-1]) for network in networks]
    address = data.draw(st.one_of(ADDRESSES, *inside))
    assert Networks(tuple(networks)).covers(address) is any(address in network for network in networks)


def test_an_address_of_the_other_family_is_not_covered_by_its_number():
    assert not Networks((ip_network("0.0.0.0/0"),)).covers(ip_address("::1"))
    assert not Networks((ip_network("::/0"),)).covers(ip_address("127.0.0.1"))


def test_unix_sockets_have_no_address_and_a_word_of_their_own():
    assert Networks.of([ip_network("10.0.0.0/8"), None]) == Networks((ip_network("10.0.0.0/8"),), unix=True)
    assert Networks(unix=True).covers(None)
    assert not Networks((ip_network("0.0.0.0/0"), ip_network("::/0"))).covers(None)


def test_nothing_said_admits_everybody_and_an_empty_allow_nobody():
    for address in (ip_address("192.0.2.1"), ip_address("::1"), None):
        assert EVERYBODY.admits(address)
        assert not Access(allow=Networks()).admits(address)
