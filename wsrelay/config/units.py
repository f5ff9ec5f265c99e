"""Durations, sizes and counts: from what an operator writes to what the code counts in.

Every function takes a TOML value of any type and raises ValueError with a sentence that begins with what was expected.
"""

import json
import math
import re

_SHOWN = 80
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)([smh])")
# A year: longer is a slip of the finger, and timers count in floats.
_YEAR = 366 * 24 * 3600.0
# What is told to clients may be longer: HSTS is often said for two years.
_MAX_YEARS = 10
_BYTES = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZE = re.compile(r"([0-9]{1,12})(KiB|MiB|GiB)")
_LOOSE_SIZE = re.compile(r"([0-9]{1,12}) ?([KMG])i?B?", re.IGNORECASE)
# 1 TiB; above it a number of bytes is no limit, which is written as 0.
_MAX_BYTES = 1 << 40


def seen(value: object) -> str:
    """Describe a value of the wrong kind: the text itself, cut, or the kind of anything else."""
    match value:
        case str():
            # JSON's quotes are TOML's; what a terminal would not print is escaped.
            shown = json.dumps(value[:_SHOWN], ensure_ascii=not value.isprintable())
            return shown if len(value) <= _SHOWN else f"{shown}…"
        case bool() | int() | float():
            return str(value).lower()[:_SHOWN]
        case list():
            return "an array"
        case dict():
            return "a table"
        case _:
            return "a date or time"


def duration(value: object) -> float:
    """Seconds from `"10s"`, `"5m"`, `"1.5h"` or a number of seconds; more than 0."""
    seconds = duration_or_zero(value)
    if seconds == 0:
        raise ValueError("expected a duration above 0, found 0")
    return seconds


def duration_or_zero(value: object) -> float:
    """The same as `duration`, with 0 allowed."""
    return _seconds(value, 1)


def long_duration(value: object) -> float:
    """The same as `duration_or_zero`, up to ten years: what others are told to remember."""
    return _seconds(value, _MAX_YEARS)


def _seconds(value: object, years: int) -> float:
    seconds = math.nan
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        seconds = float(match[1]) * _SECONDS[match[2]]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = _as_float(value)
    if 0 <= seconds <= years * _YEAR:
        return seconds
    if seconds > years * _YEAR:
        most = "a year" if years == 1 else f"{years} years"
        raise ValueError(f"expected a duration of at most {most}, found {seen(value)}")
    hint = ""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,12}ms", value):
        hint = f"; milliseconds are written as a number of seconds: {int(value[:-2]) / 1000:g}"
    elif isinstance(value, str) and re.fullmatch(r"[0-9]{1,6}d", value):
        hint = f"; days are written as hours: {int(value[:-1]) * 24}h"
    raise ValueError(f'expected a duration such as "10s", "5m", "1h" or a number of seconds, found {seen(value)}{hint}')


def _as_float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf


def size(value: object) -> int:
    """Bytes from `"64KiB"`, `"1MiB"`, `"1GiB"` or a number of bytes; 0 is allowed."""
    count = -1
    hint = ""
    if isinstance(value, str):
        if match := _SIZE.fullmatch(value):
            count = int(match[1]) * _BYTES[match[2]]
        elif loose := _LOOSE_SIZE.fullmatch(value):
            hint = f'; did you mean "{loose[1]}{loose[2].upper()}iB"?'
    elif isinstance(value, int) and not isinstance(value, bool):
        count = value
    if count > _MAX_BYTES:
        raise ValueError(f"expected a size of at most 1024GiB, found {seen(value)}")
    if count < 0:
        raise ValueError(f'expected a size such as "64KiB", "1MiB" or a number of bytes, found {seen(value)}{hint}')
    return count


def count(value: object, least: int, most: int) -> int:
    """A whole number within bounds."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"expected a whole number from {least} to {most}, found {seen(value)}")
    return value
