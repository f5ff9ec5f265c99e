"""Hosts, ports, networks and socket addresses: from an operator's text to values.

Every function takes a TOML value of any type, or the text of one, and raises ValueError with a sentence that begins
with what was expected.
"""

import re
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from wsrelay.config.networks import Network
from wsrelay.config.settings import (
    ListenAddress,
    ServerAddress,
    SystemdAddress,
    TcpAddress,
    UnixAddress,
)
from wsrelay.config.units import seen

LISTEN_FORMS = '"host:port", "[::]:port", "unix:/path" or "systemd:NAME"'
SERVER_FORMS = '"host:port", "[::1]:port" or "unix:/path"'

# RFC 1123 2.1 with the underscore that container networks use in names.
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_MAX_NAME = 253
_PORT = re.compile(r"[0-9]{1,5}")
# RFC 4291 2.5.5.2: the length of ::ffff:0:0/96, in which IPv6 sockets show IPv4 clients.
_MAPPED = 96
# sun_path holds 108 bytes with its NUL (unix(7)).
_MAX_UNIX_PATH = 107
# sd_pid_notify_with_fds(3) FDNAME: ASCII without control characters and colon, at most 255.
_SYSTEMD_NAME = re.compile(r"[!-9;-~]{1,255}")


def listen_address(value: object) -> ListenAddress:
    """An address to accept on; port 0 lets the kernel choose. A `unix:` path may still be relative."""
    if isinstance(value, str) and value.startswith("systemd:"):
        name = value.removeprefix("systemd:")
        if not _SYSTEMD_NAME.fullmatch(name):
            raise ValueError(f"expected a FileDescriptorName= after systemd:, found {seen(name)}")
        return SystemdAddress(name)
    return _address(value, LISTEN_FORMS, least_port=0)


def server_address(value: object) -> ServerAddress:
    """An address to dial. A `unix:` path may still be relative; a name is resolved when it is dialled."""
    return _address(value, SERVER_FORMS, least_port=1)


def _address(value: object, forms: str, least_port: int) -> TcpAddress | UnixAddress:
    if not isinstance(value, str):
        raise ValueError(f"expected {forms}, found {seen(value)}")
    if value.startswith("unix:"):
        return UnixAddress(unix_path(value.removeprefix("unix:")))
    if "://" in value:
        raise ValueError(f"expected {forms}, found the URL {seen(value)}; leave the scheme and the path out")
    name, number = split_port(value)
    if number is None:
        raise ValueError(f"expected {forms}, found {seen(value)} without a port")
    return TcpAddress(host(name).removeprefix("[").removesuffix("]"), port(number, least_port))


def port(text: str, least: int) -> int:
    """A TCP port in decimal digits."""
    if not _PORT.fullmatch(text) or not least <= int(text) <= 65535:
        raise ValueError(f"expected a port from {least} to 65535, found {seen(text)}")
    return int(text)


def unix_path(path: str) -> str:
    """A socket's path, relative or absolute, within what the kernel can hold."""
    if not path or "\0" in path:
        raise ValueError(f"expected a path after unix:, found {seen(path)}")
    if len(path.encode()) > _MAX_UNIX_PATH:
        raise ValueError(f"expected a socket path of at most {_MAX_UNIX_PATH} bytes (unix(7)), found {seen(path)}")
    return path


def split_port(text: str) -> tuple[str, str | None]:
    """Part `host:port` at its last colon; the port is None where there is none. Judges neither."""
    if ":" not in text or text.endswith("]"):
        return text, None
    name, _, number = text.rpartition(":")
    return name, number


def host(text: str) -> str:
    """A host name, an IPv4 address or an IPv6 address in brackets; lower case, brackets kept, addresses shortest."""
    try:
        if text.startswith("[") and text.endswith("]"):
            return f"[{IPv6Address(text[1:-1])}]"
        if re.fullmatch(r"[0-9.]+", text):
            return str(IPv4Address(text))
    except ValueError:
        raise ValueError(f"expected a host name or an address, found {seen(text)}") from None
    if ":" in text:
        raise ValueError(f'expected an IPv6 address in brackets, such as "[::1]", found {seen(text)}')
    return host_name(text)


def host_name(text: str) -> str:
    """A DNS name in lower case and ASCII, without a dot at the end."""
    if not text.isascii():
        raise ValueError(f"expected the ASCII form of the name{_ascii_form(text)}, found {seen(text)}")
    if text.endswith("."):
        raise ValueError(f"expected a host name without a dot at the end, found {seen(text)}")
    if len(text) > _MAX_NAME or not all(_LABEL.fullmatch(label) for label in text.split(".")):
        raise ValueError(f"expected a host name, found {seen(text)}")
    return text.lower()


def _ascii_form(text: str) -> str:
    try:
        return f" ({text.encode('idna').decode()})"
    except UnicodeError:
        return " (xn--…)"


def network(value: object) -> Network | None:
    """A network or a single address; None for `"unix:"`, clients on UNIX sockets."""
    if value == "unix:":
        return None
    try:
        meant = ip_network(value, strict=False) if isinstance(value, str) else None
    except ValueError:
        meant = None
    if meant is None:
        raise ValueError(f'expected a network such as "10.0.0.0/8", an address or "unix:", found {seen(value)}')
    if isinstance(meant, IPv6Network) and meant.network_address.ipv4_mapped is not None and meant.prefixlen >= _MAPPED:
        inner = ip_network((meant.network_address.ipv4_mapped, meant.prefixlen - _MAPPED), strict=False)
        raise ValueError(
            f'expected the IPv4 form of {seen(value)}, as clients are known by it; did you mean "{inner}"?'
        )
    if "%" in str(value):
        raise ValueError(f"expected a network without a scope, which clients are not known by, found {seen(value)}")
    # ip_network("10.0.0.1/8") is refused: which of the two numbers is the slip?
    if meant.network_address == ip_address(str(value).partition("/")[0]):
        return meant
    raise ValueError(f'expected a network without host bits, found {seen(value)}; did you mean "{meant}"?')


def is_wildcard(name: str) -> bool:
    """Whether a listener on this host accepts on every address of its family."""
    try:
        return ip_address(name).is_unspecified
    except ValueError:
        return False
