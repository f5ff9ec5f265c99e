"""A bug in one session: told with its traceback; the client gets 500 where that is possible, and others go on."""

import attrs
import pytest

from tests.harness import UPGRADE, http, in_reactor

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Broken:
    """Whatever it is asked, it has a bug."""

    def __getattr__(self, name):
        raise ZeroDivisionError(f"a bug in {name}")


def broken(running, **parts) -> None:
    """From the next client on, these parts of the site have bugs; None brings the old ones back."""
    listening = running.service.listening[0]
    in_reactor(lambda: setattr(listening, "site", attrs.evolve(listening.site, **parts)))


def told(logged) -> list[str]:
    """What was logged as a bug; it does not fail the test any more."""
    bugs = [event for event in logged if "log_failure" in event]
    logged[:] = [event for event in logged if "log_failure" not in event]
    return [event["log_failure"].type.__name__ for event in bugs]


@pytest.mark.parametrize("request_", [GET, UPGRADE, GET.replace(b"GET", b"HEAD")])
@pytest.mark.parametrize("part", ["routes", "dialer"])
def test_client_gets_500_and_the_log_the_traceback(relay, upstream, logged, request_, part):
    running = relay(http(upstream))
    before = running.connect()
    before.send(GET[:5])
    running.settle()
    site = running.service.listening[0].site
    broken(running, **{part: Broken()})
    client = running.connect()
    client.send(request_)
    answer = client.read_all()
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"\r\nX-Wsrelay-Reason: internal-error\r\n" in answer
    assert b"ZeroDivision" not in answer
    assert answer.endswith(b"\r\n\r\n") == request_.startswith(b"HEAD")
    line = running.next_line()
    assert (line["event"], line["status"], line["reason"]) == ("exchange", 500, "internal-error")
    assert told(logged) == ["ZeroDivisionError"]
    before.send(GET[5:])
    server = upstream.accept()
    server.read_head()
    server.send(OK)
    assert before.read(len(OK)) == OK, "a session that began before kept its site"
    broken(running, **{part: getattr(site, part)})
    assert running.sessions == 1


def test_layer_4_client_is_reset_and_the_log_says_bug(relay, upstream, logged):
    text = http(upstream).partition("[[route]]")[0].replace(':0"', ':0"\nmode = "tcp"\nupstream = "app"', 1)
    running = relay(text)
    broken(running, pumps=Broken())  # which own the legs only once they have started

    def call() -> None:
        client = running.connect()
        client.send(b"hello")
        client.read_all()

    # The reset may be quicker than the client is to notice that it is connected.
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        call()
    line = running.line(event="failed")
    assert (line["outcome"], line["reason"]) == ("bug", "internal-error")
    assert told(logged) == ["ZeroDivisionError"]
    assert upstream.accept().ending() in (b"", b"hello")
    assert running.sessions == 0
