"""The grammar of field lines, as heads and trailer sections have them (RFC 9110 5, RFC 9112 5), and look-up by name.

Knows nothing of start lines, or of what a field means.
"""

import re
from collections.abc import Mapping, Sequence

import attrs

from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Fields, Refusal

Index = Mapping[bytes, tuple[bytes, ...]]
"""Field values by name in lower case."""

# RFC 9110 5.6.2: tchar.
TCHAR = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# Lower case, and every token character that is no letter or digit becomes "-". CGI, WSGI and PHP fold names in this
# manner, each a little differently, so that X_Real_IP or X.Real.IP arrives as X-Real-IP (CVE-2026-54763,
# CVE-2026-88011). A field whose folded name is one of ours but whose own is not is an alias.
FOLD = bytes(byte if chr(byte).isalnum() and byte < 0x80 else 0x2D for byte in bytes(range(256)).lower())
# RFC 9110 5.5: what a field value is made of: HTAB, SP, VCHAR, obs-text. A reason phrase too (RFC 9112 4).
_TEXT = bytes((0x09, *range(0x20, 0x7F), *range(0x80, 0x100)))
# RFC 9110 5.6.3.
_OWS = b" \t"

# RFC 9112 2.2: a recipient may take a lone LF for a line end, and must refuse or replace a lone CR; we refuse both.
# RFC 9110 5.5: CR, LF and NUL in a value must be refused or replaced, other controls are invalid; we refuse all.
_STRAY = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?=[^\n])")


@attrs.frozen
class Blame:
    """Whose bytes are read, and so which reason a fault in them has."""

    malformed: Reason
    too_large: Reason
    whose: str
    """Begins the sentence for a person, such as "the request head"."""


class FieldLookup:
    """Access to fields by name, whatever case they were sent in. Names are asked for in lower case."""

    __slots__ = ()

    _index: Index

    def value(self, name: bytes) -> bytes | None:
        """The first value of the field, or None."""
        values = self._index.get(name)
        return values[0] if values else None

    def values(self, name: bytes) -> tuple[bytes, ...]:
        """The field's values, one for each of its lines, in order."""
        return self._index.get(name, ())

    def tokens(self, name: bytes) -> tuple[bytes, ...]:
        """The elements of a list over all the field's lines, in lower case, without the empty ones (RFC 9110 5.6.1).

        For lists of tokens, such as Connection: a comma inside a quoted string would divide it.
        """
        values = self._index.get(name)
        if not values:
            return ()
        if len(values) == 1 and b"," not in values[0]:
            alone = values[0].strip(_OWS).lower()
            return (alone,) if alone else ()
        elements = [element.strip(_OWS) for element in b",".join(values).lower().split(b",")]
        return tuple([element for element in elements if element])


def index_of(fields: Fields) -> Index:
    """The values of `fields` by lower-case name."""
    index = {name.lower(): (value,) for name, value in fields}
    if len(index) == len(fields):
        return index
    repeated: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        repeated.setdefault(name.lower(), []).append(value)
    return {name: tuple(values) for name, values in repeated.items()}


def split_lines(head: bytes, max_fields: int, blame: Blame) -> list[bytes]:
    """The lines of a head, which is given without its last two line ends; they hold no control character but HTAB.

    Raises:
        Refusal: `blame.too_large` for more than `max_fields` lines after the first, `blame.malformed` for a stray byte.
    """
    lines = head.split(b"\r\n")
    line_ends = len(lines) - 1
    # If all that is not text is as many CR LF as there are line ends, then no CR and no LF stands outside of these.
    if head.translate(None, _TEXT) != b"\r\n" * line_ends:
        refuse_stray(head + b"\r\n", 0, blame)
    # In this order, as a head that comes byte by byte has no other.
    if line_ends > max_fields:
        raise Refusal(blame.too_large, f"{blame.whose} has more than {max_fields} fields")
    return lines


def refuse_stray(data: bytes | bytearray, start: int, blame: Blame) -> None:
    """Refuse a lone CR or LF or a control character from `start` on; a CR at the very end may still get its LF.

    Raises:
        Refusal: `blame.malformed`.
    """
    stray = _STRAY.search(data, start)
    if stray is None:
        return
    byte = stray[0]
    if byte == b"\n":
        raise Refusal(blame.malformed, f"{blame.whose} has a line that ends in LF without CR (RFC 9112 2.2)")
    if byte == b"\r":
        raise Refusal(blame.malformed, f"{blame.whose} has a CR without LF (RFC 9112 2.2)")
    raise Refusal(blame.malformed, f"{blame.whose} has the control character 0x{byte[0]:02x} (RFC 9110 5.5)")


def check_text(line: bytes, blame: Blame) -> None:
    """Check that a line without its line end holds no control character but HTAB (RFC 9110 5.5).

    Raises:
        Refusal: `blame.malformed`.
    """
    if line.translate(None, _TEXT):
        refuse_stray(line + b"\r\n", 0, blame)


def parse_fields(lines: Sequence[bytes], blame: Blame) -> Fields:
    """Read field lines, given without line ends and known to hold no control character but HTAB.

    Raises:
        Refusal: `blame.malformed` where a line is not `token ":" OWS field-value OWS` (RFC 9112 5).
    """
    try:
        fields = [(name, value.strip(_OWS)) for name, value in [line.split(b":", 1) for line in lines]]
    except ValueError:
        raise _fault(lines, blame) from None
    # One look at all names together. RFC 9112 5.1: no whitespace between name and colon, and 5.2: no line that
    # continues another: a proxy that repairs either forwards something else than the next parser would have seen.
    # Both come out here as a space or a tab in a name.
    names = [name for name, _ in fields]
    if b"".join(names).translate(None, TCHAR) or b"" in names:
        raise _fault(lines, blame)
    return tuple(fields)


def _fault(lines: Sequence[bytes], blame: Blame) -> Refusal:
    """Which rule the first wrong line breaks; a second look, for the sake of the answer."""
    return next(
        Refusal(blame.malformed, f"{blame.whose} {fault} in line {number} of its fields")
        for number, line in enumerate(lines, start=1)
        if (fault := _line_fault(line))
    )


def _line_fault(line: bytes) -> str | None:
    name, colon, _ = line.partition(b":")
    if line[:1] in (b" ", b"\t"):
        return "has leading whitespace (RFC 9112 5.2)"
    if not colon:
        return "has no colon (RFC 9112 5)"
    if not name:
        return "has no name (RFC 9112 5)"
    if name[-1:] in (b" ", b"\t"):
        return "has whitespace before the colon (RFC 9112 5.1)"
    wrong = name.translate(None, TCHAR)
    return f"has the byte 0x{wrong[0]:02x} in the name (RFC 9110 5.1)" if wrong else None
