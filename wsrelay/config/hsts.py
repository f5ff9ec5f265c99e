"""Strict-Transport-Security: how long browsers shall ask for https only (RFC 6797), from settings to a field value."""

from wsrelay.config import units
from wsrelay.config.units import seen

FORMS = 'a duration such as "8760h"'

PRELOADED_SECONDS = 365 * 24 * 3600
"""What hstspreload.org asks of `max_age`: 31536000, a year."""


def max_age(value: object) -> int:
    """Whole seconds, up to ten years; 0 makes browsers forget (RFC 6797 6.1.1)."""
    seconds = units.long_duration(value)
    if seconds != int(seconds):
        raise ValueError(f"expected whole seconds, found {seen(value)}")
    return int(seconds)


def field(*, max_age: int, include_subdomains: bool, preload: bool) -> bytes:
    """The value of the field (RFC 6797 6.1; `preload` is hstspreload.org's)."""
    directives = [f"max-age={max_age}"]
    if include_subdomains:
        directives.append("includeSubDomains")
    if preload:
        directives.append("preload")
    return "; ".join(directives).encode()
