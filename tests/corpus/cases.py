"""The corpus as values: every case of `cases/*.toml`, read strictly. What a case may say stands at `Case`.

A case that says something unknown, or contradicts itself, is an error when it is loaded, for a key with a typing
mistake in it would be a check that is never made.
"""

import functools
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from tests.corpus import pieces
from tests.corpus.pieces import ClientPiece, Reset, Send, UpstreamPiece
from wsrelay.core.reasons import Reason

FOLDER = Path(__file__).resolve().parent / "cases"
REASONS = {reason.word: reason.status for reason in Reason}

# What the relay says when the upstream was at fault: the request has reached it then.
_UPSTREAMS = "upstream-"


class CorpusError(Exception):
    """A case file does not say what a case can say; the text names file and case."""


def _client(raw: object) -> tuple[ClientPiece, ...]:
    return pieces.read(raw, pieces.CLIENT)


def _upstream(raw: object) -> tuple[tuple[UpstreamPiece, ...], ...]:
    if not isinstance(raw, list) or not raw:
        raise ValueError(f"expected an array with an element for each request, found {raw!r}")
    return tuple(pieces.read([one] if isinstance(one, str) else one, pieces.UPSTREAM) for one in raw)


def _strings(raw: object) -> tuple[bytes, ...]:
    if not isinstance(raw, list) or not raw or "" in raw:
        raise ValueError(f"expected an array of strings, none of them empty, found {raw!r}")
    return tuple(map(pieces.as_bytes, raw))


def _fields(raw: object) -> dict[str, tuple[bytes, ...]]:
    if not isinstance(raw, dict) or not all(isinstance(values, list) for values in raw.values()):
        raise ValueError(f"expected a table of arrays, found {raw!r}")
    if wrong := [name for name in raw if name != name.lower()]:
        raise ValueError(f"expected field names in lower case, found {wrong}")
    return {name: tuple(map(pieces.as_bytes, values)) for name, values in raw.items()}


def _tuple(raw: object) -> object:
    return tuple(raw) if isinstance(raw, list) else raw


Status = Annotated[int, Field(ge=100, le=999)]
Statuses = Annotated[tuple[Status, ...], BeforeValidator(_tuple)]
Strings = Annotated[tuple[bytes, ...], BeforeValidator(_strings)]
Words = Annotated[tuple[str, ...], BeforeValidator(_tuple)]


class Case(BaseModel):
    """One case, as its table says it; None where it says nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True)

    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    """Unique in the whole corpus; reads like a test's name."""
    why: str = Field(min_length=15)
    """The rule and its source, in one sentence."""
    send: Annotated[tuple[ClientPiece, ...], BeforeValidator(_client), Field(min_length=1)]
    """What the client does: strings, between which it pauses; `{ repeat, times }`, which joins its neighbours;
    `{ end = true }`; `{ reset = true }`; `{ wait = "101" }`. One code point up to U+00FF is one byte."""
    status: Statuses
    """Of every final answer, in order; 101 is one, and other 1xx are none. Empty: the client gets no answer."""
    client_from: Literal["client", "proxy"] = Field(default="client", alias="from")
    """`from`: 127.0.0.1, or 127.0.0.2, which is among the trusted proxies."""
    listener: Literal["plain", "tls"] = "plain"
    upstream: Annotated[tuple[tuple[UpstreamPiece, ...], ...] | None, BeforeValidator(_upstream)] = None
    """What is played for each request of a connection, the last element for all after it. An element is a string or an
    array of pieces: also `{ close = true }`, `{ reset = true }`, `{ echo = true }`, and `{ body = true }`: what stands
    before that is played once the head has come, what stands behind it once the request is complete. `{accept}` is the
    right Sec-WebSocket-Accept. Without it all requests get what is right for them."""
    interim: Statuses | None = None
    """Of every answer that is not final, in order."""
    reason: str | None = None
    """X-Wsrelay-Reason of the last answer; no other may have one."""
    requests: int | None = Field(default=None, ge=0)
    """How many requests reach upstreams completely. 0 for a refusal that is the only answer and the client's fault."""
    cut: int | None = Field(default=None, ge=0)
    """How many requests reach upstreams with a body that never ends."""
    broken: bool = False
    """The last answer is cut short, and its client can see it."""
    upstream_has: Strings = ()
    upstream_lacks: Strings = ()
    upstream_lacks_anycase: Strings = ()
    """Bytes in all that reaches upstreams."""
    client_has: Strings = ()
    client_lacks: Strings = ()
    client_lacks_anycase: Strings = ()
    """Bytes in all that the client gets."""
    target: str | None = None
    """Of the first request that reaches an upstream."""
    group: Literal["app", "admin", "tenant"] | None = None
    """Which upstreams the last request reaches."""
    fields: Annotated[dict[str, tuple[bytes, ...]], BeforeValidator(_fields)] = Field(default_factory=dict)
    """Lower-case names, and the values that the first request has, exactly and in order; none: the field is absent."""
    trailers: Annotated[dict[str, tuple[bytes, ...]], BeforeValidator(_fields)] = Field(default_factory=dict)
    """The same for its trailer section."""
    body: Annotated[bytes | None, BeforeValidator(pieces.as_bytes)] = None
    """The content of the first request, decoded."""
    closes: bool | None = None
    """True: the relay ends the connection by itself after the last answer, in order unless that is broken; so for every
    refusal. False: a further `GET /after` is answered. None: when the client half-closes nothing more comes."""
    methods: Words | None = None
    """Of the requests that are answered, where they cannot be guessed from `send`; h11 must know of a HEAD."""
    tunnel: bool = False
    """After the 101 a marked message passes both ways, with nothing before it but early bytes."""
    log: dict[str, Any] = Field(default_factory=dict)
    """What one line of the access log must say."""
    log_lacks: Words = ()
    """What no line of it may contain, as it is written."""
    sockets: bool = True
    core: bool = True
    """Whether the case runs over sockets, and through the core alone."""
    peers: bool = True
    """False: `compare` leaves it out, since it is about something that only wsrelay has."""
    family: str = ""

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "Case":
        checks = {
            "reason is none of wsrelay.core.reasons": self.reason is None or self.reason in REASONS,
            "the status of the reason is another one": self.reason not in REASONS
            or (self.status[-1:] == (REASONS[self.reason],)),
            "tunnel needs a status that ends with 101": not self.tunnel or self.status[-1:] == (101,),
            "a case that runs nowhere": self.sockets or self.core,
            "requests = 0, and what the upstream got is described": self.needed_requests != 0
            or not (self.describes_request or self.tunnel),
            "closes and broken say opposite things": not (self.broken and self.closes is False),
        }
        if faults := [fault for fault, holds in checks.items() if not holds]:
            raise ValueError("; ".join(faults))
        return self

    @property
    def describes_request(self) -> bool:
        """Whether the case says what the upstream must see."""
        described = (self.target, self.group, self.body)
        return any(each is not None for each in described) or bool(self.fields or self.trailers)

    @property
    def needed_requests(self) -> int | None:
        """How many requests must have reached upstreams completely; None where the case leaves it open."""
        if self.requests is not None or self.reason is None or self.reason.startswith(_UPSTREAMS):
            return self.requests
        return 0 if len(self.status) == 1 else None

    @property
    def needs_close(self) -> bool | None:
        """Whether the relay must close after the last answer, or must not; None where the case leaves it open."""
        return True if self.closes is None and self.reason is not None else self.closes

    @property
    def sent(self) -> bytes:
        """All that the client sends."""
        return b"".join(piece.data for piece in self.send if isinstance(piece, Send))

    @property
    def through_core(self) -> bool:
        """Whether the case says something of the core: a reset is an event of sockets."""
        return self.core and Reset() not in self.send


def read(file: Path) -> tuple[Case, ...]:
    """The cases of one file.

    Raises:
        CorpusError: With the file, and the case where that much can be known.
    """
    with file.open("rb") as opened:
        try:
            document = tomllib.load(opened)
        except tomllib.TOMLDecodeError as error:
            raise CorpusError(f"{file.name}: {error}") from None
    if set(document) != {"case"}:
        raise CorpusError(f"{file.name}: expected [[case]] tables and nothing else, found {sorted(document)}")
    made = []
    for number, table in enumerate(document["case"], start=1):
        where = f"{file.name}: case {number} ({table.get('name')})"
        if "family" in table:
            raise CorpusError(f"{where}: its family is its file's name")
        try:
            made.append(Case.model_validate({**table, "family": file.stem}))
        except ValidationError as error:
            raise CorpusError(f"{where}: {error}") from None
    return tuple(made)


@functools.cache
def load(folder: Path = FOLDER) -> tuple[Case, ...]:
    """Every case of a folder, in the order of its files.

    Raises:
        CorpusError: A file's, or that of a name that is there twice.
    """
    cases = tuple(case for file in sorted(folder.glob("*.toml")) for case in read(file))
    names = [case.name for case in cases]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise CorpusError(f"names that are there twice: {', '.join(twice)}")
    return cases
