"""The runner is a check only if it fails: wrong expectations, and something that relays without looking."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.corpus.cases import FOLDER, Case, load, read
from tests.corpus.clients import Connected, Plain
from tests.corpus.cutting import byte_by_byte, whole
from tests.corpus.independent import Answers
from tests.corpus.over_sockets import run
from tests.corpus.pieces import End
from tests.corpus.place import LoggedRelay, RelayPlace
from tests.corpus.through_core import CoreRun, CoreSite
from tests.corpus.upstream import ScriptedUpstreams
from tests.corpus.verdict import complaints

# For answers that do not come: where something waits for them, a fault is what is expected.
IMPATIENCE = 0.5

UPGRADE = (
    "GET /ws HTTP/1.1\r\nHost: app.example\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
    "Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\nSec-WebSocket-Version: 13\r\n\r\nearly"
)
SWITCHED = (
    "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
)


def made(**table: Any) -> Case:
    """A case that says so much."""
    return Case.model_validate({"name": "made", "why": "made by hand for a test", **table})


SERVED = made(
    send=[
        "POST /api/a HTTP/1.1\r\nHost: app.example\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
        "2\r\nhi\r\n0\r\nX-T: 1\r\n\r\n"
    ],
    status=[200],
    interim=[],
    requests=1,
    cut=0,
    upstream_has=["X-A: 1"],
    upstream_lacks=["evil"],
    upstream_lacks_anycase=["evil"],
    client_has=["ok"],
    client_lacks=["evil"],
    client_lacks_anycase=["evil"],
    target="/v1/a",
    group="app",
    fields={"x-a": ["1"], "x-b": []},
    trailers={"x-t": ["1"], "x-b": []},
    body="hi",
    closes=False,
    log={"status": 200},
    log_lacks=["evil"],
)  # fmt: skip
REFUSED = made(
    send=["GET / HTTP/1.1\r\nHost : app.example\r\n\r\nGET / HTTP/1.1\r\nHost: app.example\r\n\r\n"],
    status=[400],
    reason="malformed-head",
)
SWITCHES = made(send=[UPGRADE], upstream=[[SWITCHED, "first", {"echo": True}]], status=[101], tunnel=True, requests=1)
CUT_SHORT = made(
    send=["GET / HTTP/1.1\r\nHost: app.example\r\n\r\n"],
    upstream=[["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "hello", {"close": True}]],
    status=[200],
    broken=True,
    closes=True,
)
RIGHT = {"served": SERVED, "refused": REFUSED, "switches": SWITCHES, "cut short": CUT_SHORT}

WRONG: list[tuple[Case, dict[str, Any]]] = [
    (SERVED, {"status": (201,)}),
    (SERVED, {"status": (200, 200), "closes": None}),
    (SERVED, {"interim": (100,)}),
    (SERVED, {"reason": "bad-host"}),
    (SERVED, {"requests": 0}),
    (SERVED, {"requests": 2}),
    (SERVED, {"cut": 1}),
    (SERVED, {"broken": True}),
    (SERVED, {"upstream_has": (b"evil",)}),
    (SERVED, {"upstream_lacks": (b"X-A",)}),
    (SERVED, {"upstream_lacks_anycase": (b"x-a",)}),
    (SERVED, {"client_has": (b"evil",)}),
    (SERVED, {"client_lacks": (b"ok",)}),
    (SERVED, {"client_lacks_anycase": (b"OK",)}),
    (SERVED, {"target": "/api/a"}),
    (SERVED, {"group": "admin"}),
    (SERVED, {"fields": {"x-a": (b"2",)}}),
    (SERVED, {"fields": {"x-a": (b"1", b"1")}}),
    (SERVED, {"fields": {"x-a": ()}}),
    (SERVED, {"fields": {"x-b": (b"1",)}}),
    (SERVED, {"trailers": {"x-t": ()}}),
    (SERVED, {"trailers": {"x-b": (b"1",)}}),
    (SERVED, {"body": b"ho"}),
    (SERVED, {"closes": True}),
    (SERVED, {"log": {"status": 400}}),
    (SERVED, {"log_lacks": ("app.example",)}),
    (REFUSED, {"status": (400, 200)}),
    (REFUSED, {"status": ()}),
    (REFUSED, {"reason": None}),
    (REFUSED, {"reason": "bad-host"}),
    (REFUSED, {"requests": 1}),
    (REFUSED, {"target": "/"}),
    (REFUSED, {"closes": False}),
    (SWITCHES, {"status": (200,)}),
    (SWITCHES, {"tunnel": False, "closes": True}),
    (CUT_SHORT, {"broken": False}),
    (CUT_SHORT, {"closes": False}),
]  # fmt: skip
SOCKETS_ONLY = {"closes", "log", "log_lacks", "tunnel"}
STATES = set(Case.model_fields) - {
    "name", "why", "family", "send", "client_from", "listener", "upstream", "methods", "sockets", "core", "peers",
}  # fmt: skip


@pytest.mark.parametrize("case", RIGHT.values(), ids=RIGHT)
def test_right_expectations_hold_over_sockets_and_through_the_core(
    place: RelayPlace, site: CoreSite, case: Case
) -> None:
    assert complaints(case, run(case, place)) == []
    for cut in (whole, byte_by_byte):
        assert complaints(case, CoreRun(case, site, cut).run()) == []


@pytest.mark.parametrize(("case", "change"), WRONG, ids=lambda each: None if isinstance(each, Case) else str(each))
def test_a_wrong_expectation_fails_over_sockets(
    monkeypatch: pytest.MonkeyPatch, place: RelayPlace, case: Case, change: dict[str, Any]
) -> None:
    monkeypatch.setattr(place, "patience", IMPATIENCE)
    wrong = case.model_copy(update=change)
    assert complaints(wrong, run(wrong, place))


@pytest.mark.parametrize(
    ("case", "change"),
    [(case, change) for case, change in WRONG if not SOCKETS_ONLY & set(change)],
    ids=lambda each: None if isinstance(each, Case) else str(each),
)
def test_a_wrong_expectation_fails_through_the_core(site: CoreSite, case: Case, change: dict[str, Any]) -> None:
    wrong = case.model_copy(update=change)
    assert complaints(wrong, CoreRun(wrong, site, whole).run())
    assert complaints(wrong, CoreRun(wrong, site, byte_by_byte).run())


def test_everything_that_a_case_can_state_is_tried_wrong() -> None:
    assert {key for _, change in WRONG for key in change} == STATES


def test_a_tunnel_that_loses_what_the_client_sends_fails(place: RelayPlace) -> None:
    deaf = SWITCHES.model_copy(update={"upstream": ((*SWITCHES.upstream[0][:1], End()),)})  # type: ignore[index]  # it has one
    assert "tunnel:" in "".join(complaints(deaf, run(deaf, place)))


class Unread:
    """A place where every byte goes to one upstream and back, unread: a relay at layer 4."""

    def __init__(self, folder: Any, upstreams: ScriptedUpstreams) -> None:
        self.upstreams = upstreams
        listen = '[[listen]]\naddress = "127.0.0.1:0"\nmode = "tcp"\nupstream = "app"\n'
        upstream = f'[[upstream]]\nname = "app"\nservers = ["127.0.0.1:{upstreams.ports["app"]}"]\n'
        self.relay = LoggedRelay(listen + upstream, folder)

    def connect(self, case: Case) -> Connected:
        return Plain(("127.0.0.1", self.relay.port()), "127.0.0.1", IMPATIENCE)

    def pause(self) -> None:
        self.relay.settle()

    def settle(self) -> None:
        while self.relay.sessions:
            self.relay.settle()

    def log_lines(self) -> None:
        return None


@pytest.fixture(scope="module")
def unread(tmp_path_factory: pytest.TempPathFactory, _reactor: None, upstreams: ScriptedUpstreams) -> Iterator[Unread]:
    made = Unread(tmp_path_factory.mktemp("unread"), upstreams)
    yield made
    made.relay.dispose()


SMUGGLED = {
    "cl-te": "both Content-Length and Transfer-Encoding",
    "cl-twice-equal": "Content-Length is ",
    "te-upper-case": "Transfer-Encoding is ",
    "te-space-before-colon": "h11: ",
    "line-lf-behind-a-field": "not written strictly",
    "line-fold-with-a-space": "not written strictly",
    "line-escape-in-a-value": "not written strictly",
    "body-chunk-size-minus": "h11: ",
    "body-trailer-host": "trailer host: expected ()",
    "pipeline-behind-connection-close": "the upstream got b'smuggled'",
    "unread-body-behind-a-fixed-text": "the upstream got b'smuggled'",
    "early-answer-with-a-counted-body": "the upstream got b'smuggled'",
}


@pytest.mark.parametrize(("name", "expected"), SMUGGLED.items(), ids=SMUGGLED)
def test_what_goes_up_unread_is_found(unread: Unread, name: str, expected: str) -> None:
    (case,) = (each for each in load() if each.name == name)
    found = complaints(case, run(case, unread))
    assert any(expected in each for each in found), found


ANSWERS = {
    "both framings": ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "both"),
    "bare LF": ("HTTP/1.1 200 OK\nContent-Length: 0\n\n", "not written strictly"),
    "no HTTP": ("SSH-2.0-x\r\n\r\n", "h11: "),
    "a second answer": ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" * 2, "found (200, 200)"),
    "a short body": ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", "complete answers"),
}  # fmt: skip


@pytest.mark.parametrize(("answer", "expected"), ANSWERS.values(), ids=ANSWERS)
def test_what_comes_back_unread_is_found(unread: Unread, answer: str, expected: str) -> None:
    case = made(
        send=["GET / HTTP/1.1\r\nHost: app.example\r\n\r\n"], upstream=[[answer, {"close": True}]], status=[200]
    )
    found = complaints(case, run(case, unread))
    assert any(expected in each for each in found), found


EARLY = ["HTTP/1.1 103 Early\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]


@pytest.mark.parametrize("early", EARLY)
def test_an_old_client_that_gets_chunks_or_an_interim_answer_is_a_fault(early: str) -> None:
    for minor, faults in ((0, 1), (1, 0)):
        answers = Answers([(b"GET", minor)], None)
        answers.feed(early.encode())
        assert len(answers.faults) == faults


def test_no_refusal_is_right_where_nobody_looks(unread: Unread) -> None:
    """Nor would it be if the expected status and reason did not count: the bytes themselves are found to be wrong."""
    refused = [case for file in sorted(FOLDER.glob("smuggling-lines.toml")) for case in read(file) if case.reason]
    seen = [run(case, unread) for case in refused]
    assert all(complaints(case, each) for case, each in zip(refused, seen, strict=True))
    assert all(each.faults or each.complete for each in seen)
