"""The closed list of reasons why the relay itself answers a request. Knows nothing of how an answer is written.

`docs/reasons.md` explains each to an operator; a test compares the two. Answers, access log, metrics and tests
use these values and no others.
"""

import enum


class Reason(enum.Enum):
    """Why a request got an answer of our own: a word for logs and clients, and the HTTP status it implies."""

    # What stands before HTTP: a proxy's line about the client, and TLS. An answer is possible to some of them only.
    PROXY_UNTRUSTED = ("proxy-untrusted", 403)
    PROXY_HEADER = ("proxy-header", 400)
    PROXY_TIMEOUT = ("proxy-timeout", 408)
    CLIENT_HELLO = ("client-hello", 0)
    UNKNOWN_SNI = ("unknown-sni", 0)
    TLS_VERSION = ("tls-version", 0)
    TLS_CIPHER = ("tls-cipher", 0)
    TLS_PROTOCOL = ("tls-protocol", 0)
    TLS_UNKNOWN_CA = ("tls-unknown-ca", 0)
    TLS_CERTIFICATE_EXPIRED = ("tls-certificate-expired", 0)
    TLS_CERTIFICATE_UNKNOWN = ("tls-certificate-unknown", 0)
    CLIENT_CERTIFICATE_MISSING = ("client-certificate-missing", 0)
    CLIENT_CERTIFICATE_REFUSED = ("client-certificate-refused", 0)
    TLS_ENDED_EARLY = ("tls-ended-early", 0)
    TLS_ENDED = ("tls-ended", 0)
    TLS_TIMEOUT = ("tls-timeout", 0)
    TLS_ERROR = ("tls-error", 0)

    # What the client sent.
    MALFORMED_HEAD = ("malformed-head", 400)
    BAD_HOST = ("bad-host", 400)
    BAD_TARGET = ("bad-target", 400)
    BAD_FRAMING = ("bad-framing", 400)
    BAD_BODY = ("bad-body", 400)
    BAD_UPGRADE = ("bad-upgrade", 400)
    PLAIN_HTTP = ("plain-http", 400)
    HEAD_TIMEOUT = ("head-timeout", 408)
    BODY_TIMEOUT = ("body-timeout", 408)
    BODY_TOO_LARGE = ("body-too-large", 413)
    TARGET_TOO_LONG = ("target-too-long", 414)
    EXPECTATION = ("unknown-expectation", 417)
    WEBSOCKET_VERSION = ("websocket-version", 426)
    HEAD_TOO_LARGE = ("head-too-large", 431)
    CONNECT_METHOD = ("connect-method", 501)
    TRACE_METHOD = ("trace-method", 501)
    TRANSFER_CODING = ("unknown-transfer-coding", 501)
    HTTP_VERSION = ("http-version", 505)

    # What the configuration says.
    ADDRESS_DENIED = ("address-denied", 403)
    ORIGIN_REFUSED = ("origin-refused", 403)
    WEBSOCKET_REFUSED = ("websocket-refused", 403)
    NO_ROUTE = ("no-route", 404)
    TLS_REQUIRED = ("tls-required", 426)
    WEBSOCKET_REQUIRED = ("websocket-required", 426)

    # What the upstream did.
    UPSTREAM_NAME = ("upstream-name", 502)
    UPSTREAM_REFUSED = ("upstream-refused", 502)
    UPSTREAM_UNREACHABLE = ("upstream-unreachable", 502)
    UPSTREAM_TLS = ("upstream-tls", 502)
    UPSTREAM_CERTIFICATE = ("upstream-certificate", 502)
    UPSTREAM_CLOSED = ("upstream-closed", 502)
    UPSTREAM_BAD_HEAD = ("upstream-bad-head", 502)
    UPSTREAM_BAD_FRAMING = ("upstream-bad-framing", 502)
    UPSTREAM_BAD_BODY = ("upstream-bad-body", 502)
    UPSTREAM_BAD_SWITCH = ("upstream-bad-switch", 502)
    UPSTREAM_CONNECT_TIMEOUT = ("upstream-connect-timeout", 504)
    UPSTREAM_TIMEOUT = ("upstream-timeout", 504)

    # What we ourselves are doing.
    BUG = ("internal-error", 500)
    NO_DESCRIPTORS = ("no-descriptors", 503)
    CONNECTION_LIMIT = ("connection-limit", 503)
    ADDRESS_LIMIT = ("address-limit", 503)
    CONNECTION_RATE = ("connection-rate", 503)

    def __init__(self, word: str, status: int) -> None:
        self.word = word
        """The stable name, as in `X-Wsrelay-Reason`, the log and `docs/reasons.md`."""
        self.status = status
        """The HTTP status of the answer; 0 where the client cannot be answered, since HTTP never begins."""
