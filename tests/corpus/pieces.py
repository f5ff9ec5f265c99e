"""What the two ends of a case do, piece by piece: bytes and the events between them. Knows nothing of sockets."""

from collections.abc import Callable, Mapping
from typing import Any

import attrs


@attrs.frozen
class Send:
    """These bytes; a pause lies between two of them that stand side by side."""

    data: bytes


@attrs.frozen
class End:
    """The end of what this side sends (FIN); it goes on reading. For the client `end`, for the upstream `close`."""


@attrs.frozen
class Reset:
    """RST."""


@attrs.frozen
class Wait:
    """The client goes on when an answer with this status has completely come."""

    status: int


@attrs.frozen
class Echo:
    """From here on the upstream sends back what it gets."""


@attrs.frozen
class Body:
    """The upstream goes on when the request has completely come; without it, it begins then."""


ClientPiece = Send | End | Reset | Wait
UpstreamPiece = Send | End | Reset | Echo | Body

Makers = Mapping[str, Callable[[Any], Any]]


def _is_true(value: object) -> None:
    if value is not True:
        raise ValueError(f"expected true, found {value!r}")


def _event(made: object) -> Callable[[object], object]:
    def make(value: object) -> object:
        _is_true(value)
        return made

    return make


def _wait(value: object) -> Wait:
    if not isinstance(value, str) or not value.isdecimal() or len(value) != 3:
        raise ValueError(f'expected a status such as "101", found {value!r}')
    return Wait(int(value))


CLIENT: Makers = {"end": _event(End()), "reset": _event(Reset()), "wait": _wait}
UPSTREAM: Makers = {"close": _event(End()), "reset": _event(Reset()), "echo": _event(Echo()), "body": _event(Body())}


def as_bytes(text: object) -> bytes:
    """The bytes that a string of a case file stands for: one code point up to U+00FF is one byte.

    Raises:
        ValueError: It is no string, or has a code point that is no byte.
    """
    if not isinstance(text, str):
        raise ValueError(f"expected a string, found {text!r}")
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise ValueError(f"{text[error.start]!r} is no byte: code points up to U+00FF only") from None


def _repeated(piece: Mapping[str, object]) -> bytes:
    times = piece.get("times")
    if set(piece) != {"repeat", "times"} or not isinstance(times, int) or isinstance(times, bool) or times < 1:
        raise ValueError(f"expected repeat and a positive number of times, found {dict(piece)!r}")
    return as_bytes(piece["repeat"]) * times


def read(raw: object, makers: Makers) -> tuple[Any, ...]:
    """The pieces that an array of a case file stands for; repeated bytes join their neighbours.

    Raises:
        ValueError: Something in it is no piece.
    """
    if not isinstance(raw, list):
        raise ValueError(f"expected an array of pieces, found {raw!r}")
    pieces: list[object] = []
    joins = False
    for one in raw:
        repeats = isinstance(one, dict) and "repeat" in one
        if isinstance(one, str) or repeats:
            data = _repeated(one) if repeats else as_bytes(one)
            if pieces and isinstance(pieces[-1], Send) and (joins or repeats):
                data = pieces.pop().data + data  # type: ignore[attr-defined]  # it is a Send
            pieces.append(Send(data))
        elif isinstance(one, dict) and len(one) == 1 and (name := next(iter(one))) in makers:
            pieces.append(makers[name](one[name]))
        else:
            raise ValueError(f"expected a string, or a table with repeat, {', '.join(makers)}; found {one!r}")
        joins = repeats
    return tuple(pieces)
