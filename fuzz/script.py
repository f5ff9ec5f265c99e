"""What client and upstream do, from bytes: the byte 0xFE and a letter between the bytes of messages.

`|` a pause in which the relay takes what was sent · `U` from here on an answer, played when the upstream has got
another request · `u` the same, played at once, asked for or not · `C` the client again · `E` this side ends · `R` this
side resets · `W` and a byte: this side takes only so many more bytes (255: any number) · `T` and a byte: time passes ·
`D` the service drains · `X` and a byte: the next dial fails, or takes time.
"""

from collections.abc import Iterator

import attrs

from wsrelay.core.outcomes import Side

_MARK = b"\xfe"
_WITH_ARGUMENT = b"WTX"
_FREE = 255


@attrs.frozen
class Step:
    """One thing that is done: a letter of those above, or none for bytes."""

    side: Side
    letter: str
    data: bytes = b""
    number: int = 0


@attrs.frozen
class Script:
    """Everything that is done."""

    steps: tuple[Step, ...]
    """In this order."""
    answers: tuple[tuple[Step, ...], ...]
    """Each when another request has come."""


def read(data: bytes) -> Script:
    """Every text of bytes is a script."""
    steps: list[Step] = []
    answers: list[list[Step]] = []
    place, side = steps, Side.CLIENT
    for letter, argument, sent in _marked(data):
        if letter == "C":
            place, side = steps, Side.CLIENT
        elif letter in ("U", "u"):
            side = Side.UPSTREAM
            place = steps
            if letter == "U":
                place = []
                answers.append(place)
        if letter in ("|", "C", "u"):
            place.append(Step(side, "|"))
        elif letter in ("E", "R", "W", "T", "D", "X"):
            place.append(Step(side, letter, number=argument))
        if sent:
            place.append(Step(side, "", sent))
    return Script(tuple(steps), tuple(tuple(answer) for answer in answers))


def _marked(data: bytes) -> Iterator[tuple[str, int, bytes]]:
    """Each letter, its argument, and the bytes behind it; the first has none."""
    first, *rest = data.split(_MARK)
    yield "", 0, first
    for piece in rest:
        letter, behind, argument = piece[:1], piece[1:], 0
        if letter and letter in _WITH_ARGUMENT:
            argument, behind = (behind[0] if behind else _FREE), behind[1:]
        yield letter.decode("latin-1"), argument, behind
