"""Addresses and options of sockets, for those who listen and those who dial. Knows nothing of the reactor."""

import errno
import socket

# A client or upstream that vanished without FIN is given up after 30 + 3 x 10 seconds of silence. Mobile clients vanish
# so every time they change network.
_KEEPALIVE_IDLE_SECONDS = 30
_KEEPALIVE_EVERY_SECONDS = 10
_KEEPALIVE_PROBES = 3

# Level, name and value of each option that is the same for every connection, as far as this platform has it.
_OPTIONS = tuple(
    (level, getattr(socket, name), value)
    for level, name, value in (
        (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", _KEEPALIVE_IDLE_SECONDS),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", _KEEPALIVE_EVERY_SECONDS),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", _KEEPALIVE_PROBES),
    )
    if hasattr(socket, name)
)
_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)

# The process, the system, or the kernel's memory is at its limit; waiting helps, another try at once does not.
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


# What nobody acknowledges for so long has no reader any more (TCP_USER_TIMEOUT). Linux counts a reader that is there
# and takes nothing too, and that one is `write_stall`'s to end: so this is twice its default.
UNACKNOWLEDGED_SECONDS = 120.0


def tune(connected: socket.socket, unacknowledged_seconds: float = UNACKNOWLEDGED_SECONDS) -> None:
    """Options for every connection: no Nagle, and the other end's death noticed. UNIX sockets need none.

    Args:
        connected: Or listening: what it accepts inherits all of them on Linux.
        unacknowledged_seconds: Longer than any `write_stall` that may apply.
    """
    if connected.family == socket.AF_UNIX:
        return
    for level, option, value in _OPTIONS:
        connected.setsockopt(level, option, value)
    if _USER_TIMEOUT is not None:
        connected.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, int(unacknowledged_seconds * 1000))


def host_of(family: int, name: object) -> str:
    """The bare address of a socket name: `203.0.113.9`, `2001:db8::1`, or `unix:`.

    An IPv4 client on an IPv6 socket is named by its IPv4 address, so that `trusted_proxies` means the same on both.
    """
    if family == socket.AF_UNIX or not isinstance(name, tuple):
        return "unix:"
    host = str(name[0])
    return host.removeprefix("::ffff:") if "." in host else host.partition("%")[0]


def text_of(family: int, name: object) -> str:
    """A socket name for logs: `203.0.113.9:4711`, `[2001:db8::1]:4711`, or `unix:`."""
    host = host_of(family, name)
    if not isinstance(name, tuple):
        return host
    return f"[{host}]:{name[1]}" if ":" in host else f"{host}:{name[1]}"
