"""Single values that keys take, where no other module of this room reads them: names, files, words and counts.

Every function takes a TOML value of any type and raises ValueError with a sentence that begins with what was expected.
"""

from typing import Literal

from wsrelay.config import units, words

_LARGEST = 10_000_000

# More than any machine has cores to give to one proxy.
_MOST_PUMP_THREADS = 256

_LOG_FORMS = 'expected "stdout", "journal", "off" or a file name'

LOG_WORDS = ("stdout", "journal", "off")
"""What `access_log` can be beside a file."""

_NAME_MARKS = dict.fromkeys(map(ord, "._-"), "x")


def text(value: object) -> str:
    """Text that is not empty. A listener without a name goes by its address, and routes may say that one too."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"expected text in quotation marks, found {units.seen(value)}")
    return value


def file(value: object) -> str:
    """A file name, relative or absolute."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"expected a file name, found {units.seen(value)}")
    return value


def name(value: object) -> str:
    """A name of the operator's own. It stands in logs and metrics, where a space or a quotation mark would end it."""
    if isinstance(value, str) and 0 < len(value) <= 64 and value.translate(_NAME_MARKS).isalnum():
        return value
    raise ValueError(f'expected a name of at most 64 letters, digits, ".", "_" and "-", found {units.seen(value)}')


def upstream_of(value: object) -> str:
    """The upstream that stands behind a key of the operator's own, as in `sni`."""
    if isinstance(value, dict):
        # TOML reads a.example.com = "x" as a table in a table.
        raise ValueError("expected the name of an upstream, found a table; a key with dots needs quotation marks")
    return name(value)


def reason(value: object) -> str:
    """A sentence that says why, for whoever reads the file next."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"expected a reason in words, found {units.seen(value)}")
    return value


def yes_or_no(value: object) -> bool:
    """A TOML boolean."""
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, found {units.seen(value)}")
    return value


def https(value: object) -> Literal["https"]:
    """What `redirect` of a listener can be."""
    if value != "https":
        raise ValueError(f'expected "https", found {units.seen(value)}')
    return "https"


def round_robin(value: object) -> Literal["round_robin"]:
    """What `balance` can be."""
    if value in ("least_tunnels", "hash"):
        raise ValueError(f'"{value}" is {words.NOT_YET}; expected "round_robin"')
    if value != "round_robin":
        raise ValueError(f'expected "round_robin", found {units.seen(value)}')
    return "round_robin"


def proxy_version(value: object) -> int:
    """A version of the PROXY protocol."""
    if isinstance(value, int) and not isinstance(value, bool) and value in (1, 2):
        return value
    raise ValueError(f"expected 1 (text) or 2 (binary), found {units.seen(value)}; for none leave the key out")


def log_target(value: object) -> str:
    """Where the access log goes: a word, or a file."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"{_LOG_FORMS}, found {units.seen(value)}")
    if value not in LOG_WORDS and not {"/", "."} & set(value) and (meant := words.nearest(value, LOG_WORDS)):
        raise ValueError(f'{_LOG_FORMS}, found "{value}"; did you mean "{meant}"?')
    return value


def pump_threads(value: object) -> int:
    """How many threads the pump has; 0 = as many as there are cores."""
    return units.count(value, 0, _MOST_PUMP_THREADS)


def connections(value: object) -> int:
    """A number of connections, at least one."""
    return units.count(value, 1, _LARGEST)


def at_most_many(value: object) -> int:
    """A limit on a number; 0 = none."""
    return units.count(value, 0, _LARGEST)


def head_bytes(value: object) -> int:
    """The largest head."""
    # Below 1 KiB an ordinary browser's head does not fit; above 1 MiB each silent client could hold that much.
    size = units.size(value)
    if not 1 << 10 <= size <= 1 << 20:
        raise ValueError(f"expected a size from 1KiB to 1MiB, found {units.seen(value)}")
    return size


def head_fields(value: object) -> int:
    """The most fields of a head."""
    return units.count(value, 8, 10_000)
