"""What comes from certificate files: how listeners and upstreams are secured, at the start and at each renewal."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import attrs
from OpenSSL import SSL

from wsrelay.config import certificates
from wsrelay.config.certificates import LoadedAuthorities, LoadedCertificate
from wsrelay.config.mistakes import ConfigError, Mistake
from wsrelay.config.settings import Listener, Mode, Settings, UpstreamTls
from wsrelay.control.renewal import Watched
from wsrelay.net.dialing import Dialer
from wsrelay.net.handshakes import Handshakes
from wsrelay.net.listening import Listening
from wsrelay.net.tls import Contexts
from wsrelay.net.upstream_tls import SecureUpstream

_NO_AUTHORITIES = LoadedAuthorities((), ())


class Credentials:
    """All of them, for one service.

    Attributes:
        watched: For a `Renewal`, which should know how the files stand before anything is read.
    """

    def __init__(self, settings: Settings, handshakes: Handshakes, know: Callable[[frozenset[str]], None]) -> None:
        """Nothing is read yet.

        Args:
            settings: The whole configuration.
            handshakes: Does the handshakes.
            know: Is told of the names that clients may come for: of certificates, also after a renewal, and of `sni`.
        """
        self._clients = {
            listener.name: _ShownToClients(listener, handshakes, know)
            for listener in settings.listeners
            if listener.tls
        }
        self._upstreams = {
            upstream.name: _ShownToUpstream(upstream.name, upstream.tls, handshakes)
            for upstream in settings.upstreams
            if upstream.tls is not None
        }
        # Upstreams without files too: their sessions end with the context, and the system's store is read again.
        self.watched = [each.watched for each in self._clients.values()]
        self.watched += [each.watched for each in self._upstreams.values()]
        for listener in settings.listeners:
            know(frozenset(listener.passing.names))

    def contexts(self, listener: Listener) -> Contexts | None:
        """What serves a listener's clients; None where it has no TLS of ours.

        Raises:
            ConfigError: A file cannot be used.
        """
        shown = self._clients.get(listener.name)
        return None if shown is None else shown.read()[0]

    def secured(self) -> dict[str, SecureUpstream]:
        """How to speak TLS to the groups that want it, by their names. Raises as `contexts`."""
        return {name: shown.read()[0] for name, shown in self._upstreams.items()}

    def give_to(self, dialer: Dialer, listening: Iterable[Listening]) -> None:
        """From now on these get what is renewed."""
        for shown in self._upstreams.values():
            shown.dialer = dialer
        for each in listening:
            if (mine := self._clients.get(each.site.listener.name)) is not None:
                mine.listening = each


class _ShownToClients:
    """A listener's certificates, and whom of its clients it trusts.

    Attributes:
        listening: Gets what is renewed; None before it is bound.
    """

    def __init__(self, listener: Listener, handshakes: Handshakes, know: Callable[[frozenset[str]], None]) -> None:
        self._listener = listener
        self._handshakes = handshakes
        self._know = know
        self._served: tuple[LoadedCertificate, ...] = ()
        self.listening: Listening | None = None
        files = tuple(file for each in listener.tls for file in (each.chain, each.key))
        authorities = listener.policy.client_ca
        self.watched = Watched(
            listener.name, files if authorities is None else (*files, authorities), self._renew, self._describe
        )

    def read(self) -> tuple[Contexts, list[str]]:
        """The contexts that serve what is in the files now, and what clients may stumble over."""
        listener, http = self._listener, self._listener.mode is Mode.HTTP
        read = tuple(certificates.load(each) for each in listener.tls)
        _refuse_worse(self._served, read)
        authorities = _authorities(listener.policy.client_ca)
        with _told(listener.name):
            contexts = Contexts(read, http=http, policy=listener.policy, authorities=authorities.certificates)
        for context in contexts.all:
            self._handshakes.prepare(context, http=http)
        warnings = [text for each in read for text in each.warnings]
        names = _names(read)
        lost = [name for name in sorted(_names(self._served) - names) if not certificates.covers(tuple(names), name)]
        warnings += [f"there is no certificate for {name} any more" for name in lost]
        self._served = read
        self._know(names)
        return contexts, [*warnings, *authorities.warnings]

    def _renew(self) -> list[str]:
        contexts, warnings = self.read()
        if self.listening is not None:
            # Sessions keep the Site that they began with.
            self.listening.site = attrs.evolve(self.listening.site, contexts=contexts)
        return warnings

    def _describe(self) -> str:
        return ", ".join(map(str, self._served))


class _ShownToUpstream:
    """What an upstream group with TLS is shown, and who may vouch for it.

    Attributes:
        dialer: Gets what is renewed; None before there is one.
    """

    def __init__(self, group: str, settings: UpstreamTls, handshakes: Handshakes) -> None:
        self._group = group
        self._settings = settings
        self._handshakes = handshakes
        self._shown: tuple[LoadedCertificate, ...] = ()
        self.dialer: Dialer | None = None
        files = tuple(_files_of(settings))
        self.watched = Watched(f"upstream {group}", files, self._renew, lambda: "" if files else "the system's store")

    def read(self) -> tuple[SecureUpstream, list[str]]:
        """What secures connections with what is in the files now, and what the upstream may stumble over."""
        settings = self._settings
        authorities = _authorities(settings.ca)
        ours = () if settings.certificate is None else (certificates.load_own(settings.certificate),)
        _refuse_worse(self._shown, ours)
        with _told(self._group):
            secured = SecureUpstream(settings, authorities.certificates, ours[0] if ours else None, self._handshakes)
        self._shown = ours
        return secured, [*authorities.warnings, *(text for each in ours for text in each.warnings)]

    def _renew(self) -> list[str]:
        secured, warnings = self.read()
        if self.dialer is not None:
            self.dialer.renew(self._group, secured)
        return warnings


def _authorities(file: Path | None) -> LoadedAuthorities:
    return _NO_AUTHORITIES if file is None else certificates.load_authorities(file)


def _files_of(settings: UpstreamTls) -> Iterator[Path]:
    if settings.ca is not None:
        yield settings.ca
    if settings.certificate is not None:
        yield settings.certificate.chain
        yield settings.certificate.key


def _refuse_worse(served: tuple[LoadedCertificate, ...], read: tuple[LoadedCertificate, ...]) -> None:
    """A certificate that is refused now does not replace one that is taken: an old file was put back."""
    now = datetime.now(UTC)
    for old, new in zip(served, read, strict=False):
        if _is_valid(old, now) and not _is_valid(new, now):
            raise ConfigError((Mistake(f"{new} is not valid now, and what is served is", "chain"),))


def _names(served: tuple[LoadedCertificate, ...]) -> frozenset[str]:
    return frozenset(name for each in served for name in each.names)


def _is_valid(certificate: LoadedCertificate, now: datetime) -> bool:
    return certificate.chain[0].not_valid_before_utc <= now <= certificate.expires


@contextmanager
def _told(whose: str) -> Iterator[None]:
    """What OpenSSL refuses although it looks right to us, and a full disk, are mistakes like others."""
    try:
        yield
    except SSL.Error as error:
        said = "; ".join(entry[2] for entry in error.args[0]) if error.args else "unknown TLS error"
        raise ConfigError(
            (Mistake(f"{whose}: OpenSSL takes the certificates or settings for no good: {said}"),)
        ) from None
    except OSError as error:
        text = f"{whose}: cannot write a chain to a temporary file: {os.strerror(error.errno or 0)}"
        raise ConfigError((Mistake(text),)) from None
