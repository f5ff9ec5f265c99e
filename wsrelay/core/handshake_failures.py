"""Why a client's TLS handshake failed: from what OpenSSL says to a reason of the closed list. Knows no OpenSSL.

OpenSSL's words are those of its error list (`ERR_reason_error_string`), without versions where they differ by it. An
alert is the client's own judgement: it tells why *it* has ended the handshake (RFC 8446 6.2).
"""

from wsrelay.core.reasons import Reason

# By the end of what OpenSSL says; `tlsv1 alert unknown ca` and `tls alert unknown ca` are the same.
_ENDINGS = {
    "alert unknown ca": Reason.TLS_UNKNOWN_CA,
    "alert certificate expired": Reason.TLS_CERTIFICATE_EXPIRED,
    "alert certificate unknown": Reason.TLS_CERTIFICATE_UNKNOWN,
    "alert bad certificate": Reason.TLS_CERTIFICATE_UNKNOWN,
    "alert certificate revoked": Reason.TLS_CERTIFICATE_UNKNOWN,
    "alert unsupported certificate": Reason.TLS_CERTIFICATE_UNKNOWN,
    "alert protocol version": Reason.TLS_VERSION,
    "unsupported protocol": Reason.TLS_VERSION,
    "version too low": Reason.TLS_VERSION,
    "inappropriate fallback": Reason.TLS_VERSION,
    "no shared cipher": Reason.TLS_CIPHER,
    "no shared groups": Reason.TLS_CIPHER,
    "no suitable key share": Reason.TLS_CIPHER,
    "no suitable signature algorithm": Reason.TLS_CIPHER,
    "no shared signature algorithms": Reason.TLS_CIPHER,
    "alert insufficient security": Reason.TLS_CIPHER,
    "no http/1.1 by ALPN": Reason.TLS_PROTOCOL,
    "alert no application protocol": Reason.TLS_PROTOCOL,
    "peer did not return a certificate": Reason.CLIENT_CERTIFICATE_MISSING,
    "certificate verify failed": Reason.CLIENT_CERTIFICATE_REFUSED,
    "bad extension": Reason.CLIENT_HELLO,
}


def reason_of(problem: str) -> Reason:
    """The reason that OpenSSL's words stand for; TLS_ERROR where they say nothing that an operator could act upon.

    What stands behind a colon explains and is not looked at. Most words for what is no ClientHello may also be said
    later: whoever knows that no hello has come takes TLS_ERROR for CLIENT_HELLO.
    """
    said = problem.partition(":")[0]
    return next((reason for ending, reason in _ENDINGS.items() if said.endswith(ending)), Reason.TLS_ERROR)
