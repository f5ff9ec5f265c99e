"""The tables of CONFIG.md as pydantic models: which keys each has, and what each value must be on its own.

What keys ask of each other stands in `rules`; names and addresses across tables in `references`.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator

from wsrelay.config import (
    addresses,
    ciphers,
    client_fields,
    hsts,
    origins,
    patterns,
    server_names,
    units,
    values,
    words,
)
from wsrelay.config.networks import Network
from wsrelay.config.settings import (
    ClientCertificate,
    ClientFact,
    HostHeader,
    ListenAddress,
    LogFormat,
    Mode,
    PathPattern,
    Pump,
    ServerAddress,
    TlsVersion,
    UnknownSni,
    WebSocketPolicy,
)


def _server(value: object) -> object:
    return {"address": value} if isinstance(value, str) else value


def _hsts(value: object) -> object:
    return value if isinstance(value, dict) else {"max_age": value}


def _some(found: list[object]) -> list[object]:
    if not found:
        raise ValueError("expected at least one element")
    return found


def _some_keys(found: dict[str, object]) -> dict[str, object]:
    if not found:
        raise ValueError("expected at least one key")
    return found


_Duration = Annotated[float, PlainValidator(units.duration)]
_DurationOrZero = Annotated[float, PlainValidator(units.duration_or_zero)]
_File = Annotated[str, PlainValidator(values.file)]
_Name = Annotated[str, PlainValidator(values.name)]
_Origins = list[Annotated[str | None, PlainValidator(origins.origin)]]
_YesOrNo = Annotated[bool, PlainValidator(values.yes_or_no)]
_UpstreamOf = Annotated[str, PlainValidator(values.upstream_of)]
_Ciphers = Annotated[str, PlainValidator(ciphers.ciphers)]
_ClientHeaders = dict[
    Annotated[str, PlainValidator(client_fields.field_name)],
    Annotated[ClientFact, PlainValidator(words.choice(ClientFact))],
]
_Sni = dict[Annotated[str, PlainValidator(server_names.server_name)], _UpstreamOf]
_Alpn = dict[Annotated[str, PlainValidator(server_names.protocol)], _UpstreamOf]
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
    pump_threads: Annotated[int, PlainValidator(values.pump_threads)] = 0
    trusted_proxies: _Networks = []
    access_log: Annotated[str, PlainValidator(values.log_target)] = "stdout"
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

    connections: Annotated[int, PlainValidator(values.connections)] | None = None
    connections_per_address: Annotated[int, PlainValidator(values.at_most_many)] | None = None
    handshakes_per_second: Annotated[int, PlainValidator(values.at_most_many)] | None = None
    head_bytes: Annotated[int, PlainValidator(values.head_bytes)] | None = None
    head_fields: Annotated[int, PlainValidator(values.head_fields)] | None = None
    body_bytes: Annotated[int, PlainValidator(units.size)] | None = None


class CertificateTable(Table):
    """One element of `tls` of a listener."""

    chain: _File = Field(description="a PEM file with the certificate chain, leaf first")
    key: _File = Field(description="a PEM file with the private key")


class HstsTable(Table):
    """`hsts` of a listener; a duration alone is its `max_age`."""

    max_age: Annotated[int, PlainValidator(hsts.max_age)] = Field(description=hsts.FORMS)
    include_subdomains: _YesOrNo = False
    preload: _YesOrNo = False


class ListenTable(Table):
    """`[[listen]]`."""

    name: _Name | None = None
    address: Annotated[ListenAddress, PlainValidator(addresses.listen_address)] = Field(
        description=addresses.LISTEN_FORMS
    )
    mode: Annotated[Mode, PlainValidator(words.choice(Mode))] = Mode.HTTP
    tls: Annotated[list[CertificateTable], AfterValidator(_some)] | None = None
    unknown_sni: Annotated[UnknownSni, PlainValidator(words.choice(UnknownSni))] = UnknownSni.DEFAULT
    tls_min: Annotated[TlsVersion, PlainValidator(words.choice(TlsVersion))] = TlsVersion.TLS_1_2
    ciphers: _Ciphers = ""
    hsts: Annotated[HstsTable, BeforeValidator(_hsts)] | None = None
    client_ca: _File | None = None
    client_certificate: Annotated[ClientCertificate, PlainValidator(words.choice(ClientCertificate))] = (
        ClientCertificate.REQUIRE
    )
    client_headers: Annotated[_ClientHeaders, AfterValidator(_some_keys)] | None = Field(
        None, description='a table such as { X-Client-Subject = "subject" }'
    )
    sni: Annotated[_Sni, AfterValidator(_some_keys)] | None = Field(
        None, description='a table such as { "a.example.com" = "name of an upstream" }'
    )
    alpn: Annotated[_Alpn, AfterValidator(_some_keys)] | None = Field(
        None, description='a table such as { "h2" = "name of an upstream" }'
    )
    accept_proxy: _YesOrNo = False
    upstream: _Name | None = None
    redirect: Annotated[Literal["https"], PlainValidator(values.https)] | None = None
    allow: Annotated[_Networks, AfterValidator(_some)] | None = None
    deny: _Networks = []


class ServerTable(Table):
    """One server of an upstream; a text alone is its address."""

    LATER = frozenset({"weight", "backup"})
    SHORT = addresses.SERVER_FORMS.replace(" or ", ", ") + " or "

    address: Annotated[ServerAddress, PlainValidator(addresses.server_address)] = Field(
        description=addresses.SERVER_FORMS
    )


class UpstreamTlsTable(Table):
    """`tls` of an upstream; `{}` is verified TLS."""

    SHORT = "{} or "

    server_name: Annotated[str, PlainValidator(server_names.own_name)] | None = None
    ca: _File | None = None
    verify: _YesOrNo = True
    insecure_reason: Annotated[str, PlainValidator(values.reason)] | None = None
    chain: _File | None = None
    key: _File | None = None


class UpstreamTable(Table):
    """`[[upstream]]`."""

    LATER = frozenset({"hash", "health", "fails", "fail_window"})

    name: _Name = Field(description="a name that routes and listeners can say")
    servers: Annotated[list[Annotated[ServerTable, BeforeValidator(_server)]], AfterValidator(_some)] = Field(
        description='an array of servers, such as ["127.0.0.1:8888"]'
    )
    balance: Annotated[Literal["round_robin"], PlainValidator(values.round_robin)] = "round_robin"
    tls: UpstreamTlsTable | None = None
    send_proxy: Annotated[int, PlainValidator(values.proxy_version)] | None = None


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

    listen: Annotated[list[Annotated[str, PlainValidator(values.text)]], AfterValidator(_some)] | None = None
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
    ("listen", "hsts"): HstsTable,
    ("upstream", "servers"): ServerTable,
    ("upstream", "tls"): UpstreamTlsTable,
    ("route", "redirect"): RedirectTable,
    ("route", "respond"): RespondTable,
    ("route", "timeouts"): TimeoutsTable,
}
"""The tables inside those, by the keys that lead there."""
