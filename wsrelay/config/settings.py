"""Every setting as a frozen value, one class per consumer. All rooms may import this; it imports none of them.

Durations are seconds, sizes are bytes. `load` makes these from files and has checked every reference in them:
a name that stands here exists.
"""

import enum
import re
from collections.abc import Collection, Mapping
from pathlib import Path

import attrs

from wsrelay.config.networks import EVERYBODY, NOWHERE, Access, Networks


@attrs.frozen
class TcpAddress:
    """A host (name, IPv4, or IPv6 without brackets) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@attrs.frozen
class UnixAddress:
    """A UNIX stream socket at an absolute path."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


@attrs.frozen
class SystemdAddress:
    """A listening socket that systemd passes by name (sd_listen_fds(3), FileDescriptorName=)."""

    name: str

    def __str__(self) -> str:
        return f"systemd:{self.name}"


ListenAddress = TcpAddress | UnixAddress | SystemdAddress
ServerAddress = TcpAddress | UnixAddress


class Pump(enum.Enum):
    """Which pump moves a tunnel's bytes."""

    AUTO = "auto"
    """The native one where it is there."""
    NATIVE = "native"
    REACTOR = "reactor"


class Mode(enum.Enum):
    """What a listener understands of the bytes it gets."""

    HTTP = "http"
    """Layer 7: requests, routes, upgrades."""
    TCP = "tcp"
    """Layer 4: bytes, unread."""


class WebSocketPolicy(enum.Enum):
    """What a route does with an upgrade to WebSocket."""

    ALLOW = "allow"
    REFUSE = "refuse"
    """An upgrade gets 403."""
    REQUIRE = "require"
    """Anything but an upgrade gets 426."""


class LogFormat(enum.Enum):
    """How an access-log line is written."""

    TEXT = "text"
    JSON = "json"


@attrs.frozen
class Timeouts:
    """Every limit of time, in seconds. The defaults are those of CONFIG.md."""

    tls_handshake: float = 10.0
    request_head: float = 10.0
    """The whole head from its first byte, or from the accept for the first one; not each byte (slowloris)."""
    connect: float = 5.0
    """One upstream address."""
    response_head: float = 30.0
    """From the end of the request to the end of the upstream's head, an answer to an upgrade included."""
    http_idle: float = 75.0
    """Between two requests of one client."""
    tunnel_idle: float = 3600.0
    """No byte in either direction of a tunnel, or in a response body that streams; 0 = never."""
    write_stall: float = 60.0
    """Bytes wait and none moves; also a request body of which nothing arrives."""
    linger: float = 30.0
    """Silence of one side after the other has closed; every byte re-arms it. Also a pause in the answer to a client
    that has closed."""
    drain: float = 30.0
    """How long sessions may go on after SIGTERM."""


@attrs.frozen
class Limits:
    """Every bound on size and number."""

    connections: int = 10_000
    """Client connections at once, all listeners together."""
    connections_per_address: int = 0
    """The same from one address, or from one /64 of IPv6, which is what a single customer gets; 0 = no limit."""
    handshakes_per_second: int = 0
    """New connections a second, all listeners together, and as many at once; counted before TLS. 0 = no limit."""
    head_bytes: int = 32 * 1024
    """A request or response head. 32 KiB: h11 allows 16, Tomcat 8, node 16, nginx 4 x 8."""
    head_fields: int = 128
    """Fields in a head. HAProxy allows 101, Apache 100; mini-program gateways add some."""
    body_bytes: int = 0
    """A request body; 0 = no limit. Bodies are streamed, so this bounds the upstream's work, not our memory."""


@attrs.frozen
class Certificate:
    """One certificate: PEM files with the chain, leaf first, and its private key."""

    chain: Path
    key: Path


class TlsVersion(enum.Enum):
    """The oldest version of TLS that a listener speaks."""

    TLS_1_2 = "1.2"
    TLS_1_3 = "1.3"


class UnknownSni(enum.Enum):
    """What becomes of a client that names no server, or one that no certificate is for."""

    DEFAULT = "default"
    """It gets the first certificate."""
    REJECT = "reject"
    """Its handshake ends with the alert unrecognized_name (RFC 6066 3)."""


class ClientCertificate(enum.Enum):
    """Whether clients have to show a certificate, where there is a `client_ca`."""

    REQUIRE = "require"
    REQUEST = "request"
    """A client without one is served all the same; one with a bad one is not."""


class ClientFact(enum.Enum):
    """What of a client's certificate can go upstream in a field."""

    SUBJECT = "subject"
    """Its subject, as RFC 4514 writes it."""
    NAMES = "names"
    """Its subjectAltNames, such as `DNS:a.example, URI:spiffe://example.com/a`."""
    FINGERPRINT = "fingerprint"
    """SHA-256 of the certificate, 64 digits in small letters."""
    CERTIFICATE = "certificate"
    """The certificate itself, as RFC 9440 has it in Client-Cert."""


@attrs.frozen
class TlsPolicy:
    """How a listener with certificates does TLS."""

    minimum: TlsVersion = TlsVersion.TLS_1_2
    ciphers: str = "ECDHE+AESGCM:ECDHE+CHACHA20"
    """Suites of TLS 1.2, as OpenSSL writes lists. By default forward secrecy and AEAD only, as RFC 9325 4.2 asks: TLS
    1.3 has nothing else, and App Transport Security on iOS accepts them."""
    unknown_sni: UnknownSni = UnknownSni.DEFAULT
    client_ca: Path | None = None
    """PEM file of the authorities whose client certificates are taken; None = clients are not asked for one."""
    client_certificate: ClientCertificate = ClientCertificate.REQUIRE
    client_headers: tuple[tuple[bytes, ClientFact], ...] = ()
    """Fields that upstreams get, and what stands in each. A client's own fields of these names never pass."""


@attrs.frozen
class Passing:
    """Connections that go on to an upstream with their TLS untouched, by what their ClientHello says."""

    names: Mapping[str, str] = attrs.field(factory=dict)
    """From server name, in lower case, exact or `*.` and a suffix, to upstream group."""
    protocols: Mapping[bytes, str] = attrs.field(factory=dict)
    """From ALPN protocol, such as `h2`, to upstream group; the first in this order that a client offers counts."""

    def __bool__(self) -> bool:
        return bool(self.names or self.protocols)

    def group_for(self, server_name: str, protocols: Collection[bytes]) -> str | None:
        """The group that a connection is for, or None if it is not to be passed on.

        Args:
            server_name: In lower case, without a dot at its end; empty if the client names none.
            protocols: What the client offers by ALPN.

        The exact name counts before a wildcard for its first label (RFC 9525 6.3), and a name before a protocol.
        """
        wildcard = "*." + server_name.partition(".")[2]
        group = self.names.get(server_name) or self.names.get(wildcard)
        if group is not None:
            return group
        return next((to for protocol, to in self.protocols.items() if protocol in protocols), None)


@attrs.frozen
class Listener:
    """One address to accept clients on."""

    name: str
    """As routes and logs name it; the address where the operator gave none."""
    address: ListenAddress
    mode: Mode = Mode.HTTP
    tls: tuple[Certificate, ...] = ()
    """Chosen by SNI, the first is the default; empty = no TLS of ours."""
    policy: TlsPolicy = TlsPolicy()
    """How TLS is done, where there are certificates."""
    hsts: bytes = b""
    """The value of Strict-Transport-Security on every answer (RFC 6797 6.1); empty = not sent."""
    passing: Passing = Passing()
    """Which connections are not for us, and are passed on with their TLS untouched."""
    accept_proxy: bool = False
    """Each connection begins with a PROXY line, v1 or v2, and comes from one of `trusted_proxies`."""
    upstream: str | None = None
    """Layer 4 only: the group that gets every connection that is not passed on; None = the others are refused."""
    redirect_to_https: bool = False
    """Every request gets 308 to https, an upgrade 426; no routes."""
    access: Access = EVERYBODY
    """Whose connections are accepted, by the connecting address; with `accept_proxy` by the one in the PROXY line."""


@attrs.frozen
class UpstreamTls:
    """How TLS is spoken to an upstream, as its client."""

    server_name: str | None = None
    """Whom its certificate must be for, and what SNI says; None = the host of each server's own address."""
    ca: Path | None = None
    """PEM file of the authorities that may vouch for it; None = the system's."""
    verify: bool = True
    certificate: Certificate | None = None
    """Ours, for upstreams that ask for one."""


@attrs.frozen
class Upstream:
    """A named group of servers, taken in turn."""

    name: str
    servers: tuple[ServerAddress, ...]
    tls: UpstreamTls | None = None
    """None = plain."""
    send_proxy: int = 0
    """Version of the PROXY line that each connection begins with, 1 or 2; 0 = none."""


class PathKind(enum.Enum):
    """How a route's path is compared (CONFIG.md `path`)."""

    PREFIX = "prefix"
    """Whole segments: `/wss` takes /wss and /wss/x, not /wssx."""
    EXACT = "="
    REGEX = "~"
    """`re.search` on the path, percent-decoded once, without the query; so `%61dmin` is no way around `~^/admin`."""


@attrs.frozen
class PathPattern:
    """A route's path: its kind and the bytes after the kind's mark."""

    kind: PathKind
    text: bytes
    regex: re.Pattern[bytes] | None = None
    """Compiled, for REGEX only."""


class HostHeader(enum.Enum):
    """Which Host the upstream gets, where it is not a literal."""

    PRESERVE = "preserve"
    """The client's own (default)."""
    UPSTREAM = "upstream"
    """The address of the server that was dialled, as `servers` has it."""


@attrs.frozen
class ToUpstream:
    """Route action: proxy to a group."""

    upstream: str
    rewrite: bytes | None = None
    """Replaces the matched prefix, one slash at the joint; with REGEX and EXACT the whole path."""
    host_header: HostHeader | bytes = HostHeader.PRESERVE


@attrs.frozen
class RedirectTo:
    """Route action: send the client elsewhere. `{uri}` in `to` is the path and query, `{host}` the host name."""

    to: str
    status: int = 308


@attrs.frozen
class Respond:
    """Route action: a fixed answer."""

    status: int = 200
    body: bytes = b""


@attrs.frozen
class Origins:
    """Pages that may open a WebSocket, by what browsers send as Origin (RFC 6454 7)."""

    patterns: re.Pattern[bytes]
    """Matches the whole of every value that is allowed, in lower case."""
    absent: bool = False
    """Whether a client without Origin may: what is no browser, and most mini-programs."""


@attrs.frozen
class Route:
    """One rule from a request's host and path to an action."""

    path: PathPattern
    action: ToUpstream | RedirectTo | Respond
    host: bytes | None = None
    """Lower case; exact, or `*.` and a suffix; None = any."""
    listen: tuple[str, ...] | None = None
    """Names of listeners; None = every listener of mode http."""
    websocket: WebSocketPolicy = WebSocketPolicy.ALLOW
    origins: Origins | None = None
    """Whose pages may open a WebSocket here; None = everybody's."""
    access: Access = EVERYBODY
    """Who may use it, by the client's own address: behind a trusted proxy, what that proxy says."""
    timeouts: Timeouts = Timeouts()
    """The general ones with this route's own laid over them."""
    name: str = ""
    """For logs: host and path as configured, such as `example.com/wss`."""


@attrs.frozen
class AccessLog:
    """Where access-log lines go: `stdout`, `journal`, `off`, or an absolute path."""

    target: str = "stdout"
    format: LogFormat = LogFormat.TEXT


@attrs.frozen
class Settings:
    """A whole configuration, checked."""

    listeners: tuple[Listener, ...]
    upstreams: tuple[Upstream, ...] = ()
    routes: tuple[Route, ...] = ()
    pump: Pump = Pump.AUTO
    pump_threads: int = 0
    """Threads of the native pump; 0 means as many as the process may use cores."""
    trusted_proxies: Networks = NOWHERE
    access_log: AccessLog = AccessLog()
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
