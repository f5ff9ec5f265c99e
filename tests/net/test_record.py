"""What is known of a session from one request to the next."""

import attrs

from wsrelay.core.outcomes import Outcome
from wsrelay.core.reasons import Reason
from wsrelay.net.record import SessionRecord

CONNECTION = {
    "id": "ab-1", "listener": "public", "client": "192.0.2.1:4711", "opened_at": 1.5, "tls": "TLSv1.3",
    "resumed": True, "sni": "example.com", "counted_as": 3,
}  # fmt: skip
REQUEST = {
    "real_ip": "192.0.2.9", "method": "GET", "host": "example.com", "target": "/", "route": "example.com/",
    "upstream": "127.0.0.1:80", "detail": "it broke", "reason": Reason.UPSTREAM_CLOSED,
}  # fmt: skip


def test_next_request_inherits_what_belongs_to_the_connection_and_nothing_else():
    record = SessionRecord(**CONNECTION, **REQUEST, outcome=Outcome.SERVED)
    record.forget_request()
    assert record.outcome is Outcome.SERVED
    record.outcome = None
    # A field that is new has to be in one of the two lists above, or this comparison misses it.
    assert set(CONNECTION) | set(REQUEST) | {"outcome"} == {field.name for field in attrs.fields(SessionRecord)}
    assert attrs.asdict(record) == attrs.asdict(SessionRecord(**CONNECTION))
