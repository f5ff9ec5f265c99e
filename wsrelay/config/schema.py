"""The tables of CONFIG.md as pydantic models: which keys each has, and what each value must be on its own.

What keys ask of each other stands in `rules`; names and addresses across tables in `references`.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator

from wsrelay.config import addresses, origins, patterns, units, words
from wsrelay.config.networks import Network
from wsrelay.config.settings import (
    HostHeader,
    ListenAddress,
    LogFormat,
    Mode,
    PathPattern,
    Pump,
    ServerAddress,
    WebSocketPolicy,
)

_LARGEST = 10_000_000

# More than any machine has cores to give to one proxy.
_MOST_PUMP_THREADS = 256

_LOG_FORMS = 'expected "stdout", "journal", "off" or a file name'

LOG_WORDS = ("stdout", "journal", "off")
"""What `access_log` can be beside a file."""


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"expected text in quotation marks, found {units.seen(value)}")
    return value


def _file(value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"expected a file name, found {units.seen(value)}")
    return value


def _name(value: object) -> str:
    # Names stand in logs and metrics, where a space or a quotation mark would end them.
    if isinstance(value, str) and 0 < len(value) <= 64 and value.translate(_NAME_MARKS).isalnum():
        return value
    raise ValueError(f'expected a name of at most 64 letters, digits, ".", "_" and "-", found {units.seen(value)}')


_NAME_MARKS = dict.fromkeys(map(ord, "._-"), "x")


def _listener_name(value: object) -> str:
    # A listener without a name goes by its address, and routes may say that one too.
    return _text(value)


def _https(value: object) -> Literal["https"]:
    if value != "https":
        raise ValueError(f'expected "https", found {units.seen(value)}')
    return "https"


def _round_robin(value: object) -> Literal["round_robin"]:
    if value in ("least_tunnels", "hash"):
        raise ValueError(f'"{value}" is {words.NOT_YET}; expected "round_robin"')
    if value != "round_robin":
        raise ValueError(f'expected "round_robin", found {units.seen(value)}')
    return "round_robin"


def _pump_threads(value: object) -> int:
    return units.count(value, 0, _MOST_PUMP_THREADS)


def _log_target(value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"{_LOG_FORMS}, found {units.seen(value)}")
    if value not in LOG_WORDS and not {"/", "."} & set(value) and (meant := words.nearest(value, LOG_WORDS)):
        raise ValueError(f'{_LOG_FORMS}, found "{value}"; did you mean "{meant}"?')
    return value


def _connections(value: object) -> int:
    return units.count(value, 1, _LARGEST)


def _at_most_many(value: object) -> int:
    return units.count(value, 0, _LARGEST)


def _head_bytes(value: object) -> int:
    # Below 1 KiB an ordinary browser's head does not fit; above 1 MiB each silent client could hold that much.
    size = units.size(value)
    if not 1 << 10 <= size <= 1 << 20:
        raise ValueError(f"expected a size from 1KiB to 1MiB, found {units.seen(value)}")
    return size


def _head_fields(value: object) -> int:
    return units.count(value, 8, 10_000)


def _server(value: object) -> object:
    return {"address": value} if isinstance(value, str) else value


def _some(values: list[object]) -> list[object]:
    if not values:
        raise ValueError("expected at least one element")
    return values


_Duration = Annotated[float, PlainValidator(units.duration)]
_DurationOrZero = Annotated[float, PlainValidator(units.duration_or_zero)]
_File = Annotated[str, PlainValidator(_file)]
_Name = Annotated[str, PlainValidator(_name)]
_Origins = list[Annotated[str | None, PlainValidator(origins.origin)]]
_Networks = list[Annotated[Network | None, PlainValidator(addresses.network)]]


class Table(BaseModel):
    """A table that knows its keys and takes no others."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    LATER: ClassVar[frozenset[str]] = frozenset()
    """Keys of CONFIG.md whose behaviour is still to come: refused, so that nobody relies on them."""

    SHORT: ClassVar[str] = ""
    """What may stand in place of the table, as the beginning of a list of expected things."""


class RelayTable(Table):
    """`[relay]`."""

    LATER = frozenset({"admin"})

    pump: Annotated[Pump, PlainValidator(words.choice(Pump))] = Pump.AUTO
    pump_threads: Annotated[int, PlainValidator(_pump_threads)] = 0
    trusted_proxies: _Networks = []
    access_log: Annotated[str, PlainValidator(_log_target)] = "stdout"
    access_log_format: Annotated[LogFormat, PlainValidator(words.choice(LogFormat))] = LogFormat.TEXT


class TimeoutsTable(Table):
    """`[timeouts]`, and `timeouts` of a route. None means: not said here."""

    tls_handshake: _Duration | None = None
    request_head: _Duration | None = None
    connect: _Duration | None = None
    response_head: _Duration | None = None
    http_idle: _Duration | None = None
    tunnel_idle: _DurationOrZero | None = None
    write_stall: _Duration | None = None
    linger: _Duration | None = None
    drain: _DurationOrZero | None = None


class LimitsTable(Table):
    """`[limits]`. None means: not said."""

    connections: Annotated[int, PlainValidator(_connections)] | None = None
    connections_per_address: Annotated[int, PlainValidator(_at_most_many)] | None = None
    handshakes_per_second: Annotated[int, PlainValidator(_at_most_many)] | None = None
    head_bytes: Annotated[int, PlainValidator(_head_bytes)] | None = None
    head_fields: Annotated[int, PlainValidator(_head_fields)] | None = None
    body_bytes: Annotated[int, PlainValidator(units.size)] | None = None


class CertificateTable(Table):
    """One element of `tls` of a listener."""

    chain: _File = Field(description="a PEM file with the certificate chain, leaf first")
    key: _File = Field(description="a PEM file with the private key")


class ListenTable(Table):
    """`[[listen]]`."""

    LATER = frozenset({"accept_proxy", "client_ca", "sni", "alpn"})

    name: _Name | None = None
    address: Annotated[ListenAddress, PlainValidator(addresses.listen_address)] = Field(
        description=addresses.LISTEN_FORMS
    )
    mode: Annotated[Mode, PlainValidator(words.choice(Mode))] = Mode.HTTP
    tls: Annotated[list[CertificateTable], AfterValidator(_some)] | None = None
    upstream: _Name | None = None
    redirect: Annotated[Literal["https"], PlainValidator(_https)] | None = None
    allow: Annotated[_Networks, AfterValidator(_some)] | None = None
    deny: _Networks = []


class ServerTable(Table):
    """One server of an upstream; a text alone is its address."""

    LATER = frozenset({"weight", "backup"})
    SHORT = addresses.SERVER_FORMS.replace(" or ", ", ") + " or "

    address: Annotated[ServerAddress, PlainValidator(addresses.server_address)] = Field(
        description=addresses.SERVER_FORMS
    )


class UpstreamTable(Table):
    """`[[upstream]]`."""

    LATER = frozenset({"hash", "tls", "send_proxy", "health", "fails", "fail_window"})

    name: _Name = Field(description="a name that routes and listeners can say")
    servers: Annotated[list[Annotated[ServerTable, BeforeValidator(_server)]], AfterValidator(_some)] = Field(
        description='an array of servers, such as ["127.0.0.1:8888"]'
    )
    balance: Annotated[Literal["round_robin"], PlainValidator(_round_robin)] = "round_robin"


class RedirectTable(Table):
    """`redirect` of a route."""

    to: Annotated[str, PlainValidator(patterns.redirect_target)] = Field(
        description='a URL or path, such as "https://example.com{uri}"'
    )
    status: Annotated[int, PlainValidator(patterns.redirect_status)] = 308


class RespondTable(Table):
    """`respond` of a route."""

    status: Annotated[int, PlainValidator(patterns.answer_status)] = 200
    body: Annotated[bytes, PlainValidator(patterns.answer_body)] = b""


class RouteTable(Table):
    """`[[route]]`."""

    LATER = frozenset({"static", "set_request", "remove_request", "set_response", "remove_response", "cors"})

    listen: Annotated[list[Annotated[str, PlainValidator(_listener_name)]], AfterValidator(_some)] | None = None
    host: Annotated[bytes, PlainValidator(patterns.host)] | None = None
    path: Annotated[PathPattern, PlainValidator(patterns.path)] = Field(description=patterns.PATH_FORMS)
    upstream: _Name | None = None
    rewrite: Annotated[bytes, PlainValidator(patterns.rewrite)] | None = None
    host_header: Annotated[HostHeader | bytes, PlainValidator(patterns.host_header)] | None = None
    redirect: RedirectTable | None = None
    respond: RespondTable | None = None
    websocket: Annotated[WebSocketPolicy, PlainValidator(words.choice(WebSocketPolicy))] = WebSocketPolicy.ALLOW
    origins: Annotated[_Origins, AfterValidator(_some)] | None = None
    allow: Annotated[_Networks, AfterValidator(_some)] | None = None
    deny: _Networks = []
    timeouts: TimeoutsTable | None = None


TABLES: dict[str, type[Table]] = {"relay": RelayTable, "timeouts": TimeoutsTable, "limits": LimitsTable}
"""The tables that a configuration has at most once."""

ARRAYS: dict[str, type[Table]] = {"listen": ListenTable, "upstream": UpstreamTable, "route": RouteTable}
"""The arrays of tables."""

INNER: dict[tuple[str, str], type[Table]] = {
    ("listen", "tls"): CertificateTable,
    ("upstream", "servers"): ServerTable,
    ("route", "redirect"): RedirectTable,
    ("route", "respond"): RespondTable,
    ("route", "timeouts"): TimeoutsTable,
}
"""The tables inside those, by the keys that lead there."""
