"""What a route says about origins: whose pages may open a WebSocket. From texts to one pattern.

`origin` takes a TOML value of any type and raises ValueError with a sentence that begins with what was expected.
"""

import re
from collections.abc import Iterable

from wsrelay.config import addresses
from wsrelay.config.settings import Origins
from wsrelay.config.units import seen

FORMS = '"https://example.com", "https://*.example.com", "weapp://*", "absent", "null" or "*"'

# RFC 6454 6.2: scheme "://" host [ ":" port ]. Mini-programs and app shells have schemes of their own.
_ORIGIN = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#@]+)")
# RFC 6454 6.2 leaves them out; clients that are no browsers do not always.
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_ANY_HOST = r"[^/?#@]+"
_SUBDOMAINS = r"(?:[a-z0-9_-]+\.)+"


def origin(value: object) -> str | None:
    """A pattern for one origin in lower case; None for `"absent"`, a client that sends none."""
    if value == "absent":
        return None
    if value == "*":
        return ".*"
    if value == "null":  # RFC 6454 7.3: sandboxed frames, pages from files
        return "null"
    found = _ORIGIN.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"expected {FORMS}, found {seen(value)}{_hint(value)}")
    scheme, place = found[1].lower(), found[2]
    if scheme in ("ws", "wss") and place != "*":
        page = f"{'http' if scheme == 'ws' else 'https'}://{place}"
        raise ValueError(f'expected the origin of the page, found {seen(value)}; did you mean "{page}"?')
    if place.startswith("*:"):
        raise ValueError(f'expected "{scheme}://*" without a port, which means every port, found {seen(value)}')
    if place == "*":
        return f"{re.escape(scheme)}://{_ANY_HOST}"
    name, number = addresses.split_port(place)
    subdomains, name = (_SUBDOMAINS, name[2:]) if name.startswith("*.") else ("", name)
    if subdomains and ("." not in name or name.replace(".", "").isdigit() or name.startswith("[")):
        raise ValueError(f'expected a domain of your own after "*.", found {seen(value)}')
    port = None if number is None else str(addresses.port(number, least=1))
    return f"{re.escape(scheme)}://{subdomains}{re.escape(addresses.host(name))}{_port(scheme, port)}"


def origins(patterns: Iterable[str | None]) -> Origins:
    """All that one route allows."""
    said = tuple(patterns)
    some = [pattern for pattern in said if pattern is not None]
    # Matches nothing, not even an empty value.
    nothing = "(?!)"
    return Origins(re.compile("|".join(some).encode() if some else nothing.encode(), re.DOTALL), None in said)


def _port(scheme: str, port: str | None) -> str:
    if port in (None, _DEFAULT_PORTS.get(scheme)):
        return f"(?::{_DEFAULT_PORTS[scheme]})?" if scheme in _DEFAULT_PORTS else ""
    return f":{port}"


def _hint(value: object) -> str:
    """What was most likely meant: an origin is neither a host nor a URL."""
    if not isinstance(value, str) or "@" in value:
        return ""
    if value.lower() in ("absent", "null"):
        return f'; did you mean "{value.lower()}"?'
    begins = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]+", value)
    if begins:
        return f'; an origin ends with the host: "{begins[0]}"'
    if re.fullmatch(r"[A-Za-z0-9.-]+(?::[0-9]+)?", value):
        return f'; did you mean "https://{value}"?'
    return ""
