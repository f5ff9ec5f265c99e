import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrelay.core.paths import Path, comparable, read
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal


@pytest.mark.parametrize("path", [b"/", b"/wss", b"/a.b/c-d_e~f", b"/a/b/", b"/@:!$&'()*+,=", b"*"])
def test_a_clean_path_is_its_only_reading(path):
    assert read(path) == Path(path)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (b"/%61dmin", b"/admin"),
        (b"/%41%5a%7E%2d%5F", b"/AZ~-_"),
        (b"/a%40b%3a", b"/a@b:"),
        (b"/a%20b", b"/a b"),
        (b"/caf%C3%A9", "/café".encode()),
        (b"/caf%c3%a9", "/café".encode()),
        (b"/a%1b%08B", b"/a%1B%08B"),
        (b"/a%7f", b"/a%7F"),
        (b"/.well-known/acme", b"/.well-known/acme"),
        (b"/.../x", b"/.../x"),
        (b"/a..b", b"/a..b"),
    ],
)
def test_escapes_are_decoded_once_but_for_those_that_could_deceive(path, text):
    assert read(path) == Path(text)


@pytest.mark.parametrize(
    ("path", "text", "others"),
    [
        (b"/a%2fb", b"/a%2Fb", {b"/a/b"}),
        (b"/a%5Cb", b"/a%5Cb", {b"/a/b"}),
        (b"//a///b", b"//a///b", {b"/a/b", b"///b", b"/b"}),
        (b"/a%0d%0aB", b"/a%0D%0AB", {b"/aB"}),  # AUT-10
        (b"/%5cx/a", b"/%5Cx/a", {b"//x/a", b"/a", b"/x/a"}),
        (b"///x", b"///x", {b"/", b"/x"}),
        (b"/a%3fb%23c", b"/a?b#c", {b"/a"}),
        (b"/a%23b%3fc", b"/a#b?c", {b"/a"}),
        (b"/%c1%a1", b"/\xc1\xa1", {b"/a"}),
        (b"/%e0%81%a1%f0%80%81%a2", b"/\xe0\x81\xa1\xf0\x80\x81\xa2", {b"/ab"}),
        (b"/a;x=1/b", b"/a;x=1/b", {b"/a/b"}),
        (b"/a%3Bx=1/b", b"/a;x=1/b", {b"/a/b"}),
        (b"/%2561", b"/%2561", {b"/a"}),
        (b"/a%252Fb", b"/a%252Fb", {b"/a%2Fb", b"/a/b"}),
        (b"/a;%2Fb", b"/a;%2Fb", {b"/a;/b", b"/a", b"/a/b"}),
        (b"/a%2F/b", b"/a%2F/b", {b"/a//b", b"/a/b"}),
    ],
)
def test_a_path_that_upstreams_read_differently_has_other_readings(path, text, others):
    assert (read(path).text, set(read(path).others)) == (text, others)


@pytest.mark.parametrize(
    "path",
    [
        b"/wss/../admin",
        b"/wss/..",
        b"/..",
        b"/./admin",
        b"/wss/.",
        b"/wss/%2e%2e/admin",
        b"/wss/%2E./admin",
        b"/wss/.%2e/admin",
        b"/wss/..%2fadmin",
        b"/wss%2f..%2fadmin",
        b"/wss%2F%2e%2e%2Fadmin",
        b"/wss/..%5cadmin",
        b"/wss%5c..%5cadmin",
        b"/wss/..;/admin",  # CVE-2026-127060
        b"/wss/..;x=1/admin",
        b"/wss/..%3b/admin",
        b"/wss/.;/admin",
        b"/wss//..//admin",
        b"/wss/%252e%252e/admin",
        b"/wss%252f..%252fadmin",
        b"/wss\\..\\admin",
        b"/wss\\admin",
        b"/wss/%00",
        b"/wss%00.html",
        b"/%",
        b"/%1",
        b"/%zz",
        b"/%u002e%u002e/admin",
        b"/a%%41",
    ],
)
def test_what_no_honest_client_sends_is_refused(path):
    """AUT-09, CVE-2021-29492, CVE-2025-66490."""
    with pytest.raises(Refusal) as caught:
        read(path)
    assert caught.value.reason is Reason.BAD_TARGET


def test_a_configured_path_may_have_a_percent_sign_of_its_own():
    assert comparable(b"/100%/%") == b"/100%/%"


@given(st.text("/.%;\\2eEfF5cC013aA", max_size=40).map(lambda text: b"/" + text.encode()))
def test_no_reading_of_an_accepted_path_leads_upwards(path):
    try:
        accepted = read(path)
    except Refusal:
        return
    for reading in (accepted.text, *accepted.others):
        assert not {b".", b"..", b"..;"} & set(reading.split(b"/"))
        assert b"\0" not in reading


@given(st.text("/aA%2415fF", max_size=30).map(lambda text: b"/" + text.encode()))
def test_the_compared_form_of_a_configured_path_equals_that_of_the_request(path):
    try:
        text = read(path).text
    except Refusal:
        return
    assert text == comparable(path)


def test_long_runs_of_what_is_trimmed_at_the_end_are_trimmed_there_only():
    assert read(b"/" + b"%20" * 1360 + b"a").others == ()
    assert read(b"/" + b"%20%01" * 600).others == (b"/",)


def test_what_is_too_long_or_can_be_read_in_too_many_ways_is_refused():
    for path in (b"//x%252f;y%2f//z%c1%a1%0a%3fx%23" * 9, b"/%20" + b"a" * 4096):
        with pytest.raises(Refusal):
            read(path)
    assert read(b"/" + b"a" * 5000).others == ()
