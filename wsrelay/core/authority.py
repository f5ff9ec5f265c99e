"""What a request is about: the grammar of the request target and of Host. Knows nothing of fields or of routes."""

import functools
import ipaddress
import re

import attrs

from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal

# RFC 3986 3.3: pchar = unreserved / pct-encoded / sub-delims / ":" / "@", and the slash. Then the four that browsers
# send raw in a path although RFC 3986 does not have them (URL Standard 1.3, path percent-encode set; `^` until lately).
_PATH = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%!$&'()*+,;=:@/[]|^"
# RFC 3986 3.4: query = *( pchar / "/" / "?" ). Browsers send more of it raw (special-query percent-encode set), and
# clients that do not normalise their URLs send `?data={"a":1}`. Never `#` (CVE-2023-45539), `<`, `>`, a space, or a
# byte above 0x7E: browsers encode them, and the parsers behind us disagree about them.
_QUERY = _PATH + b'?{}\\`"'

# RFC 3986 2.1. In the path only: routes compare decoded paths, but browsers send `?discount=100%` as it was typed.
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")

# RFC 9112 3.2.2: absolute-form. RFC 6455 4.1 has WebSocket clients write http or https here too, and some write ws or
# wss; the upstream gets neither.
_ABSOLUTE = re.compile(rb"(?i:(https?|wss?)://)([^/?]*)(.*)", re.DOTALL)
_DEFAULT_PORTS = {b"http": 80, b"https": 443, b"ws": 80, b"wss": 443}

# RFC 9110 7.2: Host = uri-host [ ":" port ]; RFC 3986 3.2.2, 3.2.3. Of reg-name only the unreserved characters: a comma
# is how two Host lines look once somebody joined them, and an escape would be a second spelling of one name.
# One dot at the end is the root's (RFC 1034 3.1). IPvFuture is refused: none is defined.
_NAME = re.compile(rb"([A-Za-z0-9_~-]+(?:\.[A-Za-z0-9_~-]+)*)\.?(?::([0-9]{0,5}))?")
_LITERAL = re.compile(rb"\[([0-9A-Fa-f:.]+)\](?::([0-9]{0,5}))?")
_MAX_PORT = 65535
# RFC 3986 3.2.2 and RFC 1035 2.3.4: 255 bytes of name, a colon and five digits.
_MAX_BYTES = 261


@attrs.frozen
class Authority:
    """A host and port, ready to be compared."""

    sent: bytes
    """As it came."""
    host: bytes
    """Lower case and without a final dot; an IPv6 address in its brackets and in the form of RFC 5952."""
    port: int | None
    """None where the sender left it out."""
    default_port: int | None = None
    """Of the scheme it came with in an absolute-form target; None for Host, which has no scheme."""

    def agrees_with(self, host: "Authority") -> bool:
        """Say whether this one of a target and that of a Host field name the same server (RFC 3986 6.2.3)."""
        ports = (self.default_port if port is None else port for port in (self.port, host.port))
        return self.host == host.host and next(ports) == next(ports)


# Most requests name one of few hosts. Only valid ones stay here, so an entry is small: RFC 3986's bound is checked.
@functools.lru_cache(maxsize=512)
def parse_authority(value: bytes, default_port: int | None = None) -> Authority:
    """Read the value of a Host field, or the authority of an absolute-form target (RFC 9110 7.2, RFC 3986 3.2).

    Raises:
        Refusal: BAD_HOST for an empty one, a name with anything but letters, digits and `-._~`, an address that is
            none, a port above 65535, userinfo.
    """
    match = (_LITERAL if value[:1] == b"[" else _NAME).fullmatch(value)
    if match is None or len(value) > _MAX_BYTES:
        raise Refusal(Reason.BAD_HOST, "the host is not a name or an address with an optional port (RFC 9110 7.2)")
    host, digits = match.groups()
    port = int(digits) if digits else None
    if port is not None and port > _MAX_PORT:
        raise Refusal(Reason.BAD_HOST, f"the port of the host is above {_MAX_PORT}")
    if value[:1] != b"[":
        return Authority(value, host.lower(), port, default_port)
    try:
        address = ipaddress.IPv6Address(host.decode("ascii"))
    except ValueError:
        raise Refusal(Reason.BAD_HOST, "the host in brackets is no IPv6 address (RFC 3986 3.2.2)") from None
    return Authority(value, b"[%b]" % address.compressed.encode("ascii"), port, default_port)


def parse_target(method: bytes, target: bytes) -> tuple[bytes, bytes, Authority | None]:
    """Read a request target that does not begin with a slash, and is not CONNECT's (RFC 9112 3.2).

    Returns:
        Path, query with its question mark, and the authority that an absolute-form names.

    Raises:
        Refusal: BAD_TARGET where it is neither absolute-form nor, with OPTIONS, asterisk-form, or has a character that
            does not belong there; BAD_HOST where its authority is none.
    """
    # RFC 9112 3.2.4: asterisk-form is for a server-wide OPTIONS only.
    if target == b"*":
        if method == b"OPTIONS":
            return target, b"", None
        raise Refusal(Reason.BAD_TARGET, "the target is *, which is for OPTIONS only (RFC 9112 3.2.4)")
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise Refusal(
            Reason.BAD_TARGET, "the target is neither a path nor an http, https, ws or wss URL (RFC 9112 3.2)"
        )
    scheme, named, rest = match.groups()
    # RFC 9110 4.2.4: userinfo counts as an error; it hides the host from people who read it.
    if b"@" in named:
        raise Refusal(Reason.BAD_TARGET, "the target has userinfo before its host (RFC 9110 4.2.4)")
    authority = parse_authority(named, _DEFAULT_PORTS[scheme.lower()])
    # RFC 9112 3.2.4: OPTIONS with neither path nor query means the server as a whole.
    if not rest and method == b"OPTIONS":
        return b"*", b"", authority
    # RFC 9112 3.2.1: an empty path is sent as a slash.
    path, query = split_path(rest if rest[:1] == b"/" else b"/" + rest)
    return path, query, authority


def split_path(target: bytes) -> tuple[bytes, bytes]:
    """Check an origin-form target, which begins with a slash; return path, and query with its question mark.

    Raises:
        Refusal: BAD_TARGET for a character that does not belong there, or an incomplete escape in the path.
    """
    path, mark, query = target.partition(b"?")
    wrong = path.translate(None, _PATH) or query.translate(None, _QUERY)
    if wrong:
        raise Refusal(Reason.BAD_TARGET, f"the target has the byte 0x{wrong[0]:02x} unencoded (RFC 3986 2.1)")
    if b"%" in path and _BAD_ESCAPE.search(path):
        raise Refusal(Reason.BAD_TARGET, "the path has a % that two hexadecimal digits do not follow (RFC 3986 2.1)")
    return path, mark + query
