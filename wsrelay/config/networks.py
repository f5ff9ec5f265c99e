"""Sets of networks, and who may come in by them. Values of the configuration that can be asked about an address."""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import attrs

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_Prefixes = Mapping[int, tuple[tuple[int, frozenset[int]], ...]]


def _by_length(networks: Iterable[Network]) -> _Prefixes:
    """By IP version: for each length of prefix how far an address is shifted, and the prefixes of that length."""
    found: dict[int, dict[int, set[int]]] = {4: {}, 6: {}}
    for network in networks:
        shift = network.max_prefixlen - network.prefixlen
        found[network.version].setdefault(shift, set()).add(int(network.network_address) >> shift)
    return {
        version: tuple((shift, frozenset(prefixes)) for shift, prefixes in shifts.items())
        for version, shifts in found.items()
    }


@attrs.frozen
class Networks:
    """A set of addresses. A look-up costs one step for each length of prefix there is, however many networks."""

    networks: tuple[Network, ...] = ()
    unix: bool = False
    """Whether clients on UNIX sockets are in it; they have no address."""
    _prefixes: _Prefixes = attrs.field(init=False, eq=False, repr=False)

    @_prefixes.default
    def _prefixes_of_networks(self) -> _Prefixes:
        return _by_length(self.networks)

    def covers(self, address: Address | None) -> bool:
        """Whether an address is in it; None stands for a client on a UNIX socket."""
        if address is None:
            return self.unix
        number = int(address)
        return any(number >> shift in prefixes for shift, prefixes in self._prefixes[address.version])

    @classmethod
    def of(cls, said: Iterable[Network | None]) -> "Networks":
        """From what the configuration says, where None stands for `"unix:"`."""
        said = tuple(said)
        return cls(tuple(network for network in said if network is not None), None in said)


NOWHERE = Networks()
"""No address at all."""


@attrs.frozen
class Access:
    """Who may come in: `allow` without `deny`. The settings of those names, of a listener or a route."""

    allow: Networks | None = None
    """None for everybody."""
    deny: Networks = NOWHERE

    def admits(self, address: Address | None) -> bool:
        """Whether an address may come in; None stands for a client on a UNIX socket."""
        return not self.deny.covers(address) and (self.allow is None or self.allow.covers(address))


EVERYBODY = Access()
"""What holds where nothing is said."""
