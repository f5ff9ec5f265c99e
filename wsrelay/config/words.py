"""Words out of a closed list: which were meant by a word that is not in it, and which come with a later release."""

import difflib
import enum
from collections.abc import Callable, Iterable
from typing import TypeVar

from wsrelay.config.units import seen

NOT_YET = "not supported yet"

_Choice = TypeVar("_Choice", bound=enum.Enum)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` was probably meant to be, or None."""
    # 0.6 is difflib's own default: one transposed pair in a short key still counts as near.
    close = difflib.get_close_matches(word.lower().replace("-", "_")[:80], list(known), n=1, cutoff=0.6)
    return close[0] if close else None


def listed(words: Iterable[str]) -> str:
    """The words in quotation marks: `"a", "b" or "c"`."""
    *front, last = (f'"{word}"' for word in words)
    return f"{', '.join(front)} or {last}" if front else last


def choice(kind: type[_Choice], later: tuple[str, ...] = ()) -> Callable[[object], _Choice]:
    """Make a function that reads one value of an enum.

    Args:
        kind: Its values are the words.
        later: Words of CONFIG.md whose behaviour is still to come.
    """
    words = [str(member.value) for member in kind]

    def read(value: object) -> _Choice:
        if isinstance(value, str):
            if value in words:
                return kind(value)
            if value in later:
                raise ValueError(f'"{value}" is {NOT_YET}; expected {listed(words)}')
        raise ValueError(f"expected {listed(words)}, found {seen(value)}")

    return read
