"""Names of fields that tell of a client's certificate (`client_fields`)."""

import re

import pytest

from wsrelay.config import client_fields
from wsrelay.core import hopbyhop
from wsrelay.core.fieldlines import FOLD

# Who is logged in: what a proxy that knows certificates is asked to say.
OURS_TO_SAY = {b"remote-user", b"x-remote-user"}


@pytest.mark.parametrize("value", ["X-Client-Subject", "x_client", "Client-Cert", "SSL_CLIENT_S_DN", "X-Remote-User"])
def test_a_name_of_ones_own_comes_as_it_is_written(value: str) -> None:
    assert client_fields.field_name(value) == value


@pytest.mark.parametrize("value", ["", "X Client", "X-Client:", "X-Clïent", "x" * 65, "X\r\nHost", 3, None])
def test_what_is_no_token_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match='^expected the name of a field, such as "X-Client-Subject", found '):
        client_fields.field_name(value)


@pytest.mark.parametrize(
    "value",
    [
        "Host", "hOST", "Connection", "Content-Length", "Transfer-Encoding", "X-Forwarded-For", "X_Forwarded_For",
        "X-Forwarded-Client-Cert", "X.Real.IP", "Sec-WebSocket-Key", "Upgrade", "X-Wsrelay-Reason", "Cookie",
        "Authorization", "Proxy-Authorization", "Accept", "Accept-Encoding", "If-None-Match", "Content-Type", "Via",
        "Date", "Strict-Transport-Security", "Access-Control-Request-Method",
    ],
)  # fmt: skip
def test_a_name_that_means_something_else_is_refused(value: str) -> None:
    told = f"expected a field of your own, such as X-Client-Subject; {value} has a meaning already"
    with pytest.raises(ValueError, match=f"^{re.escape(told)}$"):
        client_fields.field_name(value)


def test_nothing_that_the_hop_writes_or_drops_can_be_chosen() -> None:
    """The rooms may not know each other, so each has a list, and this one may only be the longer."""
    families = {family + b"x" for family in (*hopbyhop._FAMILIES, hopbyhop._OURS)}
    taken = (hopbyhop._WORTH_AN_ALIAS | hopbyhop._HSTS | families) - OURS_TO_SAY
    assert len(taken) > 60
    for name in taken:
        with pytest.raises(ValueError, match="has a meaning already$"):
            client_fields.field_name(name.decode())


def test_names_are_folded_as_the_hop_folds_them() -> None:
    token = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    assert client_fields.folded(token).encode() == token.encode().translate(FOLD)


def test_a_chain_is_no_fact_that_there_is() -> None:
    with pytest.raises(ValueError, match="^expected a field for one fact; the chain is not passed on"):
        client_fields.field_name("Client-Cert-Chain")
