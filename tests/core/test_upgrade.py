import pytest

from wsrelay.core.head import HeadLimits, RequestHead, RequestReader, ResponseHead, ResponseReader
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal
from wsrelay.core.upgrade import Declined, Plain, Switched, Upgrade, check_reply, classify, expect_final

LIMITS = HeadLimits(max_bytes=32 * 1024, max_fields=128)
KEY, ACCEPT = b"x3JJHMbDL1EzLkh9GBhXDw==", b"HSmrc0sMlYUkAGmm5OPpG2HaGWk="

HANDSHAKE = {
    b"Connection": b"Upgrade",
    b"Upgrade": b"websocket",
    b"Sec-WebSocket-Key": KEY,
    b"Sec-WebSocket-Version": b"13",
}
SWITCH = {b"Connection": b"Upgrade", b"Upgrade": b"websocket", b"Sec-WebSocket-Accept": ACCEPT}


def request(*extra: bytes, start: bytes = b"GET /wss HTTP/1.1", **changed: bytes | None) -> RequestHead:
    """A valid opening handshake with fields changed (Name_With_Underscores=value), left out (None) or added."""
    fields = HANDSHAKE | {name.replace("_", "-").encode(): value for name, value in changed.items()}
    lines = [b"%b: %b" % (name, value) for name, value in fields.items() if value is not None]
    head = RequestReader(LIMITS).feed(b"\r\n".join([start, b"Host: example.com", *lines, *extra, b"", b""]))
    assert head is not None
    return head


def reply(*extra: bytes, start: bytes = b"HTTP/1.1 101 Switching Protocols", **changed: bytes | None) -> ResponseHead:
    fields = SWITCH | {name.replace("_", "-").encode(): value for name, value in changed.items()}
    lines = [b"%b: %b" % (name, value) for name, value in fields.items() if value is not None]
    head = ResponseReader(LIMITS).feed(b"\r\n".join([start, *lines, *extra, b"", b""]))
    assert head is not None
    return head


def refused(reason: Reason, head: RequestHead) -> Refusal:
    with pytest.raises(Refusal) as caught:
        classify(head)
    assert caught.value.reason is reason
    return caught.value


def refused_reply(head: ResponseHead) -> str:
    with pytest.raises(Refusal) as caught:
        check_reply(Upgrade(KEY, ACCEPT), head)
    assert caught.value.reason is Reason.UPSTREAM_BAD_SWITCH
    return caught.value.detail


@pytest.mark.parametrize(
    ("key", "accept"),
    [
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),  # RFC 6455 1.3
        (b"sN9cRrP/n9NdMgdcy2VJFQ==", b"fFBooB7FAkLlXgRSz0BT3v4hq5s="),
        (KEY, ACCEPT),
    ],
)
def test_a_key_has_the_accept_value_of_the_rfc(key, accept):
    assert classify(request(Sec_WebSocket_Key=key)) == Upgrade(key, accept)


@pytest.mark.parametrize(
    "head",
    [
        request(),
        request(Connection=b"keep-alive, Upgrade"),  # Firefox
        request(Connection=b"UPGRADE", Upgrade=b"WebSocket"),
        request(b"Connection: upgrade", Connection=b"keep-alive"),  # two lines are one list (RFC 9110 5.3)
        request(Upgrade=b"h2c, websocket"),
        request(b"Upgrade: websocket"),  # twice is once (UPG-23)
        request(b"Content-Length: 0"),
        request(b"Origin: weapp://wechat-game-runtime"),
        request(Sec_WebSocket_Key=b"AAAAAAAAAAAAAAAAAAAAAB=="),  # padding bits set
    ],
)
def test_every_spelling_of_a_valid_handshake_is_an_upgrade(head):
    assert isinstance(classify(head), Upgrade)


@pytest.mark.parametrize(
    "head",
    [
        request(Upgrade=None, Connection=None),
        request(Connection=None),  # UPG-06, RFC 9110 7.8
        request(Connection=b"keep-alive"),
        request(Upgrade=None),
        request(Upgrade=b"h2c", Connection=b"Upgrade, HTTP2-Settings"),  # UPG-08
        request(b"Upgrade: h2", Upgrade=b"h2c"),  # UPG-09
        request(Upgrade=b"websocket/13"),
        request(Upgrade=b"websockets"),
        request(start=b"GET /wss HTTP/1.0"),  # UPG-15
        request(Connection="“upgrade”".encode()),  # curly quotes out of a blog
        request(start=b"POST /wss HTTP/1.1", Connection=None),
    ],
)
def test_anything_without_both_tokens_in_http_1_1_is_plain(head):
    assert classify(head) == Plain()


@pytest.mark.parametrize("method", [b"POST", b"HEAD", b"OPTIONS"])
def test_an_upgrade_by_another_method_is_refused(method):
    """UPG-07: a health check that posts."""
    assert "GET" in refused(Reason.BAD_UPGRADE, request(start=method + b" /wss HTTP/1.1")).detail


@pytest.mark.parametrize(
    "line",
    [
        b"Content-Length: 5",
        b"Content-Length: 00",
        b"Content-Length: 0\r\nContent-Length: 0",
        b"Content-Length:",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding:",
    ],
)
def test_an_upgrade_with_a_body_is_refused(line):
    """UPG-10, UPG-11, CVE-2026-69243, CVE-2026-58055."""
    assert "body" in refused(Reason.BAD_UPGRADE, request(line)).detail


@pytest.mark.parametrize("version", [b"8", b"7", b"13, 8", b"013", b"", None])
def test_another_version_gets_426_with_the_version_and_the_protocol(version):
    """UPG-01, RFC 6455 4.4, RFC 9110 15.5.22."""
    refusal = refused(Reason.WEBSOCKET_VERSION, request(Sec_WebSocket_Version=version))
    assert dict(refusal.fields) == {b"Sec-WebSocket-Version": b"13", b"Upgrade": b"websocket"}


def test_an_ancient_client_without_key_and_version_learns_of_the_version_first():
    refused(Reason.WEBSOCKET_VERSION, request(Sec_WebSocket_Version=None, Sec_WebSocket_Key=None))


@pytest.mark.parametrize("second", [b"13", b"8"])
def test_two_versions_are_refused(second):
    refused(Reason.BAD_UPGRADE, request(b"Sec-WebSocket-Version: " + second))


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"x3JJHMbDL1EzLkh9GBhXDw",
        b"x3JJHMbDL1EzLkh9GBhXDw=",
        b"x3JJHMbDL1EzLkh9GBhXD===",
        b"x3JJHMbDL1EzLkh9GBhXDww=",  # 17 bytes
        b"x3JJHMbDL1EzLkh9GBhXDwwwAA==",
        b"x3JJHMbDL1EzLkh9GBh Dw==",
        b"x3JJHMbDL1EzLkh9GBh-_w==",  # the URL alphabet
        b"x3JJHMbDL1EzLkh9GBhXDw==, x3JJHMbDL1EzLkh9GBhXDw==",
    ],
)
def test_a_malformed_key_is_refused(key):
    assert "malformed" in refused(Reason.BAD_UPGRADE, request(Sec_WebSocket_Key=key)).detail


def test_a_missing_key_is_refused():
    """UPG-16."""
    assert "found 0" in refused(Reason.BAD_UPGRADE, request(Sec_WebSocket_Key=None)).detail


def test_two_keys_are_refused():
    assert "found 2" in refused(Reason.BAD_UPGRADE, request(b"Sec-WebSocket-Key: " + KEY)).detail


def test_a_refusal_of_an_upgrade_never_repeats_what_the_client_sent():
    refusal = refused(Reason.BAD_UPGRADE, request(Sec_WebSocket_Key=b"<script>"))
    assert "script" not in refusal.detail


def test_the_right_101_switches():
    assert check_reply(Upgrade(KEY, ACCEPT), reply()) == Switched(())


@pytest.mark.parametrize(
    "head",
    [
        reply(Connection=b"keep-alive, UPGRADE", Upgrade=b"WebSocket"),
        reply(b"Sec-WebSocket-Location: ws://example.com/", b"Sec-WebSocket-Protocol: chat"),
        reply(start=b"HTTP/1.1 101 Web Socket Protocol Handshake"),
        reply(start=b"HTTP/1.1 101 "),
    ],
)
def test_a_right_101_may_be_spelled_in_many_ways(head):
    assert check_reply(Upgrade(KEY, ACCEPT), head) == Switched(())


@pytest.mark.parametrize("connection", [None, b"keep-alive", b""])
def test_a_101_without_the_connection_option_passes_with_a_warning(connection):
    switched = check_reply(Upgrade(KEY, ACCEPT), reply(Connection=connection))
    assert isinstance(switched, Switched)
    assert [warning for warning in switched.warnings if "no Connection: upgrade" in warning]


@pytest.mark.parametrize(
    ("head", "detail"),
    [
        (reply(Sec_WebSocket_Accept=None), "has no Sec-WebSocket-Accept"),  # UPG-12
        (reply(Sec_WebSocket_Accept=b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "does not belong"),  # UPG-13
        (reply(Sec_WebSocket_Accept=ACCEPT.lower()), "does not belong"),
        (reply(Sec_WebSocket_Accept=ACCEPT.rstrip(b"=")), "does not belong"),
        (reply(Sec_WebSocket_Accept=KEY), "does not belong"),
        (reply(b"Sec-WebSocket-Accept: " + ACCEPT), "more than one Sec-WebSocket-Accept"),
        (reply(Upgrade=None), "has no Upgrade"),
        (reply(Upgrade=b""), "has no Upgrade"),
        (reply(Upgrade=b"h2c"), "other than exactly websocket"),  # UPG-14
        (reply(Upgrade=b"websocket, h2c"), "other than exactly websocket"),
        (reply(b"Upgrade: websocket"), "other than exactly websocket"),
        (reply(b"Content-Length: 0"), "has Content-Length"),
        (reply(b"Content-Length: 5"), "has Content-Length"),
        (reply(b"Transfer-Encoding: chunked"), "has Transfer-Encoding"),
        (reply(start=b"HTTP/1.0 101 Switching Protocols"), "HTTP/1.0"),
    ],
)
def test_a_wrong_101_is_refused_and_the_detail_says_what_is_wrong(head, detail):
    assert detail in refused_reply(head)


@pytest.mark.parametrize("status", [b"200", b"400", b"401", b"403", b"404", b"426", b"500", b"302", b"204"])
def test_any_other_answer_declines_whatever_fields_it_carries(status):
    """UPG-02, UPG-04, CVE-2024-23326: a 200 with Upgrade and the right accept value is no tunnel."""
    assert check_reply(Upgrade(KEY, ACCEPT), reply(start=b"HTTP/1.1 %b X" % status)) == Declined()


def test_a_101_that_nobody_asked_for_is_refused():
    """UPG-05, CVE-2026-59898."""
    with pytest.raises(Refusal) as caught:
        expect_final(reply())
    assert caught.value.reason is Reason.UPSTREAM_BAD_SWITCH


@pytest.mark.parametrize("status", [b"200", b"426", b"100"])
def test_any_other_answer_to_a_plain_request_is_welcome(status):
    expect_final(reply(start=b"HTTP/1.1 %b X" % status))
