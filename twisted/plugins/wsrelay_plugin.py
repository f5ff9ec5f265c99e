"""Tells twistd that wsrelay is there. Strings only: every twistd, twist and trial on the host imports this file."""

from twisted.application.service import ServiceMaker

wsrelay = ServiceMaker(
    "wsrelay",
    "wsrelay.control.options",
    "A WebSocket edge: TLS, routing, plain HTTP and layer 4, then a raw splice of two connections.",
    "wsrelay",
)
