"""Server names as clients and proxies in front say them: by SNI, or as the authority of a PROXY line."""

import re

# RFC 1035 2.3.4, and what OpenSSL takes.
_MOST_BYTES = 255

# RFC 6066 3 has a DNS name in ASCII, one dot at the end aside; the underscore is no host name's (RFC 1123 2.1), but
# people have such names. No address is allowed either: one of IPv4 looks like a name, and one of IPv6 passes as well,
# for some clients send it and OpenSSL serves them. All else would end up in logs and in an upstream's PROXY line.
_NAME = re.compile(rb"([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)\.?|([0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]*:[0-9A-Fa-f.]*)")


def read(name: bytes) -> str | None:
    """The name in lower case, without a dot at its end; None for what is none."""
    match = _NAME.fullmatch(name) if len(name) <= _MOST_BYTES else None
    return None if match is None else str(match[1] or match[2], "ascii").lower()
