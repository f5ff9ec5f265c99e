"""Fields that tell an upstream about a client's certificate: which names they may have.

A name that something else gives a meaning to could be taken for that; one that a client may send could be forged.
"""

import re

from wsrelay.config.units import seen

# RFC 9110 5.6.2.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_NOT_PLAIN = re.compile(r"[^a-z0-9]")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# The relay writes, drops or reads them (`core.hopbyhop` has the same, and a test compares): framing, the hop, who the
# client is by its address, who it is by its login, and what upstreams check.
_TAKEN = _words(
    "host connection keep-alive proxy-connection te trailer transfer-encoding upgrade http2-settings content-length "
    "expect proxy x-real-ip x-forwarded forwarded client-ip true-client-ip x-client-ip x-cluster-client-ip "
    "cf-connecting-ip cf-connecting-ipv6 fastly-client-ip fly-client-ip x-azure-clientip x-azure-socketip "
    "x-appengine-user-ip cloudfront-viewer-address ali-cdn-real-ip cdn-src-ip x-envoy-external-address "
    "x-envoy-original-path x-remote-ip x-remote-addr x-originating-ip x-original-forwarded-for x-original-host "
    "x-original-url x-rewrite-url wl-proxy-client-ip http-client-ip http-x-forwarded-for "
    "authorization cookie set-cookie www-authenticate origin cache-control user-agent referer"
)
# RFC 9110's fields of requests, and those that browsers and caches know.
_OF_HTTP = _words(
    "accept age allow authentication-info date dnt early-data etag from last-modified link location max-forwards "
    "pragma prefer priority range server strict-transport-security traceparent tracestate upgrade-insecure-requests "
    "vary via warning x-http-method-override x-requested-with"
)
_FAMILIES = ("x-forwarded-", "sec-", "proxy-", "x-wsrelay-", "content-", "accept-", "access-control-", "if-")
# RFC 9440 2.3: the other certificates of the chain, which no fact has.
_CHAIN = "client-cert-chain"

CERTIFICATE_FIELD = "client-cert"
"""RFC 9440 2.2: holds the certificate itself, and nothing else."""


def folded(name: str) -> str:
    """What CGI and its heirs take a name for: lower case, `-` for everything that is no letter or digit."""
    return _NOT_PLAIN.sub("-", name.lower())


def field_name(value: object) -> str:
    """A name of a field that nothing else sets. Comes as written."""
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise ValueError(f'expected the name of a field, such as "X-Client-Subject", found {seen(value)}')
    plain = folded(value)
    if plain in _TAKEN or plain in _OF_HTTP or plain.startswith(_FAMILIES):
        raise ValueError(f"expected a field of your own, such as X-Client-Subject; {value} has a meaning already")
    if plain == _CHAIN:
        raise ValueError("expected a field for one fact; the chain is not passed on, Client-Cert has the certificate")
    return value
