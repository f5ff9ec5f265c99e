"""Taking legs away from Python: nothing of them stays there, and a changed pyOpenSSL is found before a tunnel is."""

import os
import types
from collections.abc import Callable
from typing import Any

import OpenSSL
import pytest
from cryptography.hazmat.bindings import _rust
from OpenSSL import SSL
from twisted.internet import reactor

from tests.contracts.peers import Peer, TlsPeer, a_turn, clog, plain_leg, secure, tcp_pair, tls_leg, unclog, unix_pair
from tests.harness import in_reactor
from wsrelay.net import takeover
from wsrelay.net.legs import Leg, Taken
from wsrelay.net.takeover import FUNCTIONS, CannotTakeOver

MUCH = b"".join(number.to_bytes(4, "big") for number in range(1 << 18))


def c_function(kind: str, name: str) -> Callable[..., Any]:
    """OpenSSL's function of this name, by the address that was found."""
    function: Callable[..., Any] = _rust._openssl.ffi.cast(kind, takeover.functions()[name])
    return function


def close(taken: Taken) -> None:
    """What a pump does with it in the end."""
    if taken.ssl:
        c_function("void (*)(void *)", "SSL_free")(_rust._openssl.ffi.cast("void *", taken.ssl))
    os.close(taken.descriptor)


def in_the_reactor(descriptor: int) -> bool:
    """Whether the reactor looks at this descriptor, or at a leg that is closed."""
    every = in_reactor(lambda: [*reactor.getReaders(), *reactor.getWriters()])  # type: ignore[attr-defined]  # a module, to mypy
    return any(one.fileno() == descriptor or (isinstance(one, Leg) and one.closed) for one in every)


def secured() -> tuple[Leg, Peer]:
    leg, peer = tls_leg(tcp_pair())
    secure(leg, peer)
    return leg, peer


# What is taken.


@pytest.mark.parametrize("make", [plain_leg, secured], ids=["plain", "tls"])
def test_a_taken_leg_leaves_nothing_in_the_reactor(make: Callable[[], tuple[Leg, Peer]]) -> None:
    leg, peer = make()
    descriptor = leg.fileno()
    in_reactor(leg.resume)
    assert in_the_reactor(descriptor)
    taken = in_reactor(takeover.take, leg)
    assert taken.descriptor == descriptor
    assert bool(taken.ssl) is isinstance(peer, TlsPeer)
    assert (taken.unsent, taken.ended) == (b"", False)
    assert (leg.closed, leg.fileno()) == (True, -1)
    assert not in_the_reactor(descriptor)
    peer.send(b"for the next owner")
    a_turn()
    assert not in_the_reactor(descriptor)
    close(taken)
    peer.close()


def test_what_the_kernel_did_not_take_is_handed_over() -> None:
    leg, peer = plain_leg(16 * 1024)
    in_reactor(leg.write, MUCH)
    waiting = leg.waiting
    taken = in_reactor(takeover.take, leg)
    assert len(taken.unsent) == waiting > 0
    assert MUCH.endswith(taken.unsent)
    assert not in_the_reactor(taken.descriptor)
    close(taken)
    assert peer.rest()[0] == MUCH[:-waiting]
    peer.close()


def test_a_tls_leg_in_the_middle_of_a_write_is_handed_over_with_all_of_it() -> None:
    """OpenSSL has encrypted the first record and wants the same bytes again, from wherever they are then."""
    ours, far = unix_pair()
    leg, peer = tls_leg((ours, far))
    secure(leg, peer)
    in_reactor(leg.write, b"x")
    assert peer.read(1) == b"x"  # and the session tickets before it
    count = clog(ours)
    in_reactor(leg.write, MUCH[:50_000])
    taken = in_reactor(takeover.take, leg)
    assert taken.unsent == MUCH[:50_000]
    assert not in_the_reactor(taken.descriptor)
    unclog(far, count)
    openssl = _rust._openssl.ffi
    write = c_function("int (*)(void *, const void *, int)", "SSL_write")
    assert write(openssl.cast("void *", taken.ssl), openssl.from_buffer(taken.unsent), 16_384) == 16_384
    assert peer.read(16_384) == MUCH[:16_384]
    close(taken)
    peer.close()


def test_an_end_that_was_seen_is_handed_over() -> None:
    leg, peer = plain_leg()
    peer.finish()
    in_reactor(leg.resume)
    a_turn()
    taken = in_reactor(takeover.take, leg)
    assert taken.ended
    close(taken)
    peer.close()


# The trial at the start.


def test_every_function_is_found_at_an_address_of_its_own() -> None:
    found = takeover.functions()
    assert tuple(found) == FUNCTIONS
    assert len(set(found.values())) == len(FUNCTIONS)
    assert all(found.values())


def test_a_connection_that_keeps_its_ssl_elsewhere_cannot_be_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    make = SSL.Connection.__init__

    def make_changed(self: SSL.Connection, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        self.__dict__["_renamed"] = self.__dict__.pop("_ssl")

    monkeypatch.setattr(SSL.Connection, "__init__", make_changed)
    with pytest.raises(CannotTakeOver, match=f"^pyOpenSSL {OpenSSL.__version__} has changed: .*_ssl"):
        takeover.functions()


def test_an_ssl_of_another_kind_cannot_be_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    make = SSL.Connection.__init__

    def make_changed(self: SSL.Connection, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        self._kept = self._ssl
        self._ssl = object()

    monkeypatch.setattr(SSL.Connection, "__init__", make_changed)
    with pytest.raises(CannotTakeOver, match="^pyOpenSSL .* has changed: "):
        takeover.functions()


def test_a_cryptography_without_its_binding_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(_rust, "_openssl")
    with pytest.raises(CannotTakeOver, match="_openssl"):
        takeover.functions()


@pytest.mark.parametrize("missing", FUNCTIONS)
def test_a_binding_without_one_of_the_functions_cannot_be_used(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    real = _rust._openssl

    def addressof(lib: Any, name: str) -> Any:
        if name == missing:  # as cffi does for a name that a library has not
            raise AttributeError(f"cffi library has no function {name!r}")
        return real.ffi.addressof(lib, name)

    ffi = types.SimpleNamespace(
        addressof=addressof, cast=real.ffi.cast, gc=real.ffi.gc, NULL=real.ffi.NULL, error=real.ffi.error
    )
    monkeypatch.setattr(_rust, "_openssl", types.SimpleNamespace(ffi=ffi, lib=real.lib))
    with pytest.raises(CannotTakeOver, match=missing):
        takeover.functions()
