"""What a route may say about hosts, paths and answers: texts of the configuration to values that match and answer.

Every function takes a TOML value of any type and raises ValueError with a sentence that begins with what was expected.
"""

import re
from urllib.parse import quote

from wsrelay.config import addresses
from wsrelay.config.settings import HostHeader, PathKind, PathPattern
from wsrelay.config.units import seen
from wsrelay.config.words import nearest

# What a route compares is decoded once, so a path may be written either way: /聊天 or /%E8%81%8A%E5%A4%A9.
_UNWRITABLE = re.compile(r"[\s?#\\]|%(?![0-9A-Fa-f]{2})|%00")
# RFC 3986 3.3: what may go into a request line as it is.
_SENDABLE = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*")
_DOTS = re.compile(r"/(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
# An escaped slash is no slash, and the percent sign itself stays escaped.
_KEPT = b"/%\\"
PATH_FORMS = '"/prefix", "=/exact" or "~regex"'
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_PLACEHOLDERS = ("{uri}", "{host}")
# A Location value: URI characters only (RFC 9110 10.2.2), so neither a line break nor a control can get into a head.
_LOCATION = re.compile(r"(?:https?://(?!/)|/(?!/))(?:[A-Za-z0-9._~!$&'()*+,;=:@/?#\[\]-]|%[0-9A-Fa-f]{2})*")
_REDIRECTS = (301, 302, 303, 307, 308)
_NO_CONTENT = (204, 304)
# An answer is kept in memory for every use; pages belong on an upstream.
_MAX_BODY = 1 << 20


def host(value: object) -> bytes:
    """The host a route is for: exact, or `*.` and a suffix; an IPv6 address in brackets."""
    if not isinstance(value, str):
        raise ValueError(f'expected a host such as "example.com" or "*.example.com", found {seen(value)}')
    if value == "*":
        raise ValueError('expected a host such as "example.com" or "*.example.com"; for any host leave the key out')
    if value.startswith("."):
        raise ValueError(f'expected a host such as "example.com", found {seen(value)}; did you mean "*{value}"?')
    if "/" in value:
        raise ValueError(f"expected a host alone, without scheme and path, found {seen(value)}")
    name, number = addresses.split_port(value)
    if number is not None and (":" not in name or name.endswith("]")):
        raise ValueError(f"expected a host without a port, found {seen(value)}")
    if value.startswith("*."):
        return b"*." + addresses.host_name(value[2:]).encode()
    return addresses.host(value).encode()


def path(value: object) -> PathPattern:
    """The path a route is for: whole segments, `=` exactly, or `~` a regular expression."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"expected a path as {PATH_FORMS}, found {seen(value)}")
    match value[0]:
        case "~":
            return _regex(value[1:])
        case "=":
            return PathPattern(PathKind.EXACT, _literal(value[1:]))
        case "/":
            return PathPattern(PathKind.PREFIX, _literal(value))
        case _:
            raise ValueError(f"expected a path as {PATH_FORMS}, found {seen(value)}")


def _literal(text: str) -> bytes:
    if not text.startswith("/"):
        raise ValueError(f'expected a path that begins with "/", found {seen(text)}')
    if "?" in text or "#" in text:
        raise ValueError(f"expected a path without a query or fragment, found {seen(text)}")
    if _DOTS.search(text):
        raise ValueError(f'expected a path without "." or ".." segments: they get 400, found {seen(text)}')
    if _UNWRITABLE.search(text) or not text.isprintable():
        raise ValueError(f"expected a path, spaces and controls percent-encoded, found {seen(text)}")
    return text.encode()


def compared(pattern: PathPattern) -> bytes:
    """A path in the form in which two of them are the same: escapes decoded (RFC 3986 6.2.2)."""
    return pattern.text if pattern.kind is PathKind.REGEX else _ESCAPE.sub(_decoded, pattern.text)


def _decoded(escape: re.Match[bytes]) -> bytes:
    byte = bytes.fromhex(escape[1].decode())
    return escape[0].upper() if byte in _KEPT else byte


def _regex(text: str) -> PathPattern:
    if not text.isascii():
        raise ValueError(f"expected a regex in ASCII, with \\x.. for bytes above 0x7F, found {seen(text)}")
    try:
        return PathPattern(PathKind.REGEX, text.encode(), re.compile(text.encode()))
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f'expected a regular expression after "~": {error}') from None


def rewrite(value: object) -> bytes:
    """The path that goes upstream in place of the matched one."""
    if not isinstance(value, str) or not value.startswith("/"):
        raise ValueError(f'expected a path that begins with "/", found {seen(value)}')
    path = _literal(value)
    if not _SENDABLE.fullmatch(value):
        raise ValueError(f'expected a path as it is sent, "{quote(value)}", found {seen(value)}')
    return path


def host_header(value: object) -> HostHeader | bytes:
    """Which Host the upstream gets: a word, or a host with or without a port (RFC 9110 7.2)."""
    words = [word.value for word in HostHeader]
    if not isinstance(value, str):
        raise ValueError(f'expected "preserve", "upstream" or a host, found {seen(value)}')
    if value in words:
        return HostHeader(value)
    if "." not in value and ":" not in value and (meant := nearest(value, words)):
        raise ValueError(f'expected "preserve", "upstream" or a host, found {seen(value)}; did you mean "{meant}"?')
    name, number = addresses.split_port(value)
    port = "" if number is None else f":{addresses.port(number, least=1)}"
    return f"{addresses.host(name)}{port}".encode()


def redirect_target(value: object) -> str:
    """Where a redirect leads: a URL or an absolute path, with `{uri}` and `{host}` to be filled in."""
    if not isinstance(value, str) or not value.startswith(("http://", "https://", "/")):
        raise ValueError(f'expected a URL with http:// or https://, or a path beginning with "/", found {seen(value)}')
    for placeholder in _PLACEHOLDER.findall(value):
        if placeholder not in _PLACEHOLDERS:
            raise ValueError(f"expected no placeholder but {{uri}} and {{host}}, found {seen(placeholder)}")
    if "/{uri}" in value:
        raise ValueError(f"expected {{uri}} without a slash before it, for it begins with one, found {seen(value)}")
    # Filled in as a request would, so that the client never gets to choose the host.
    if not _LOCATION.fullmatch(value.replace("{uri}", "/x").replace("{host}", "x")):
        raise ValueError(f"expected a URL of RFC 3986 characters, others percent-encoded, found {seen(value)}")
    return value


def redirect_status(value: object) -> int:
    """A status that makes clients follow Location (RFC 9110 15.4)."""
    if not isinstance(value, int) or value not in _REDIRECTS:
        raise ValueError(f"expected 301, 302, 303, 307 or 308, found {seen(value)}")
    return value


def answer_status(value: object) -> int:
    """A final status; 1xx are not answers (RFC 9110 15.2)."""
    if not isinstance(value, int) or isinstance(value, bool) or not 200 <= value <= 599:
        raise ValueError(f"expected a status from 200 to 599, found {seen(value)}")
    return value


def answer_body(value: object) -> bytes:
    """The content of a fixed answer, in UTF-8."""
    if not isinstance(value, str):
        raise ValueError(f"expected text, found {seen(value)}")
    body = value.encode()
    if len(body) > _MAX_BODY:
        raise ValueError(f"expected a body of at most {_MAX_BODY >> 20} MiB, found {len(body)} bytes")
    return body


def has_content(status: int) -> bool:
    """Whether an answer of this status may have a body (RFC 9110 6.4.1)."""
    return status not in _NO_CONTENT
