"""The service: Settings become listeners, Sites and a pump; start, signals, drain. The only place that composes.

Follows twistd's order: built as root before any fork, bound in `privilegedStartService`, started after the user has
changed.
"""

import itertools
import resource
import secrets
import signal
import threading
from collections.abc import Callable
from typing import NoReturn

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.systemd import ListenFDs

from wsrelay.config.mistakes import ConfigError
from wsrelay.config.settings import Listener, Mode, Settings, SystemdAddress
from wsrelay.control import pumps
from wsrelay.control.access_log import AccessLog
from wsrelay.control.access_log_targets import AccessLogError, open_access_log
from wsrelay.control.credentials import Credentials
from wsrelay.control.pumps import Movers
from wsrelay.control.renewal import Renewal
from wsrelay.control.tls_counts import TlsCounts
from wsrelay.core.routing import RouteTable
from wsrelay.net import client_certificate, sockets
from wsrelay.net.admission import Admission
from wsrelay.net.dialing import Dialer
from wsrelay.net.legs import Reactor
from wsrelay.net.listening import CannotListen, Listening, bind
from wsrelay.net.live import Live
from wsrelay.net.record import Observer
from wsrelay.net.site import Site

# A tunnel has a socket on each side.
_DESCRIPTORS_A_SESSION = 2

# Listeners, logs, the reactor's own, and what libraries open for a moment.
_OTHER_DESCRIPTORS = 64


class CannotStart(SystemExit, Exception):
    """The start has failed: the process ends with status 1 and this one line, without a traceback.

    Also an `Exception`, since that is what twistd looks for before it tells a daemon's parent process of the cause
    and removes the pidfile.
    """


class RelayService(Service):
    """The relay as a Twisted service.

    Attributes:
        live: All sessions.
        listening: The listeners, once bound.
        tls_counts: Clients' handshakes in numbers, once bound.
    """

    log = Logger()

    def __init__(self, settings: Settings, reactor: Reactor) -> None:
        """Nothing is opened yet."""
        self._settings = settings
        self._reactor = reactor
        self._access_log: AccessLog | None = None
        self._renewal: Renewal | None = None
        self.tls_counts: TlsCounts | None = None
        self._inherited = ListenFDs.fromEnvironment()
        self._movers: Movers | None = None
        self.live = Live(reactor)
        self.listening: list[Listening] = []

    def privilegedStartService(self) -> None:
        """Read keys, bind ports, open the log: what may need root, and what must fail the start."""
        try:
            self._movers = pumps.choose(self._settings, self._reactor)
            self._access_log = open_access_log(self._settings.access_log)
            self.tls_counts = counts = TlsCounts(self._access_log, self._reactor)
            held = Credentials(self._settings, self._movers.handshakes, counts.know)
            # Before the files are read, so that no change of theirs is missed.
            self._renewal = Renewal(self._reactor, held.watched)
            unacknowledged = _unacknowledged_seconds(self._settings)
            dialer = Dialer(self._reactor, self._settings.upstreams, unacknowledged, held.secured())
            sites = _sites(self._settings, self._reactor, self._movers, self.live, counts, dialer, held)
            new_id = _ids()
            self._name_unused_sockets()
            for site in sites:
                self.listening.append(self._listen(site, new_id))
            held.give_to(dialer, self.listening)
        except ConfigError as error:  # a certificate has changed since the configuration was read
            self._fail_start("; ".join(mistake.text for mistake in error.mistakes))
        except pumps.NoNativePump as error:
            self._fail_start(f'pump = "native", and there is no native pump: {error}')
        except (CannotListen, AccessLogError) as error:
            self._fail_start(str(error))
        super().privilegedStartService()  # type: ignore[no-untyped-call]  # Twisted has no types here

    def startService(self) -> None:
        """Accept clients, and say so."""
        if not self.listening:  # not every runner calls privilegedStartService
            self.privilegedStartService()
        super().startService()  # type: ignore[no-untyped-call]  # as above
        assert self._movers is not None
        self._make_room(self._movers.descriptors)
        try:
            self._movers.open()
        except OSError as error:
            self._fail_start(f"{error.filename}: {error.strerror}")
        if threading.current_thread() is threading.main_thread():
            # Python's default ends the process, and whoever sees the lines below may send one.
            signal.signal(signal.SIGHUP, self._hang_up)
        assert self._renewal is not None
        assert self.tls_counts is not None
        self._renewal.start()
        self.tls_counts.start()
        for listening in self.listening:
            listening.start()
            listener = listening.site.listener
            self.log.info("listening on {address} ({what})", address=listening.name, what=_what(listener))
        why = self._movers.why_not_native
        self.log.info(
            "tunnels are moved by the {pump} pump{why}",
            pump=self._movers.pumps.name,
            why=why and f"; the native one is not there: {why}",
        )

    def _listen(self, site: Site, new_id: Callable[[], str]) -> Listening:
        bound = bind(site.listener.address, self._inherited, _unacknowledged_seconds(self._settings))
        return Listening(bound, site, new_id)

    def _name_unused_sockets(self) -> None:
        """Clients of a socket that nobody accepts on would wait for ever."""
        used = {each.address.name for each in self._settings.listeners if isinstance(each.address, SystemdAddress)}
        for name in sorted(self._inherited.inheritedNamedDescriptors().keys() - used):
            self.log.warn('systemd passed a socket named "{name}", which no [[listen]] uses', name=name)

    def _make_room(self, more: int) -> None:
        """Raise the soft limit of descriptors to what `limits.connections` may need, or say that it is too low."""
        wanted = self._settings.limits.connections * _DESCRIPTORS_A_SESSION + more + _OTHER_DESCRIPTORS
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        if soft != resource.RLIM_INFINITY and soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        if most < wanted:
            self.log.warn(
                "limits.connections = {connections} may need {wanted} descriptors, and this process may have {most}; "
                "raise LimitNOFILE= or `ulimit -n`, or lower the limit",
                connections=self._settings.limits.connections,
                wanted=wanted,
                most=most,
            )

    def stopService(self) -> Deferred[None]:
        """Accept no more, let sessions end within `drain`, then end them. A second signal ends them at once."""
        super().stopService()  # type: ignore[no-untyped-call]  # as above
        for listening in self.listening:
            listening.stop()
        if self._renewal is not None:
            self._renewal.stop()
        if self.tls_counts is not None:
            self.tls_counts.stop()
        seconds = self._settings.timeouts.drain
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._hurry)
            signal.signal(signal.SIGINT, self._hurry)
        if len(self.live):
            self.log.info("{count} sessions have {seconds:g} s to end", count=len(self.live), seconds=seconds)
        return self.live.drain(seconds).addCallback(self._close)

    def _close(self, _: None) -> None:
        if self._movers is not None:
            self._movers.shut()
        if self._access_log is not None:
            self._access_log.close()

    def _hang_up(self, number: int, frame: object) -> None:
        self._reactor.callFromThread(self._reopen)

    def _reopen(self) -> None:
        """What logrotate and certbot want of SIGHUP; all that it does until a configuration can be reloaded."""
        if self._access_log is not None:
            self._access_log.reopen()
        self.log.info(
            "SIGHUP: the access log is reopened, certificates are read again; "
            "this version cannot reload its configuration, restart it"
        )
        if self._renewal is not None:
            self._renewal.look_now()

    def _hurry(self, number: int, frame: object) -> None:
        self._reactor.callFromThread(self.live.end_all)

    def _fail_start(self, text: str) -> NoReturn:
        """Undo what was begun. The log gets the text before a daemon's parent does, and Python prints it to stderr."""
        for listening in self.listening:
            listening.stop()
        if self._access_log is not None:
            self._access_log.close()
        self.log.error("{text}", text=text)
        raise CannotStart(f"wsrelay: {text}")


def _sites(
    settings: Settings,
    reactor: Reactor,
    movers: Movers,
    live: Live,
    observer: Observer,
    dialer: Dialer,
    held: Credentials,
) -> list[Site]:
    reserved = client_certificate.reserved(settings.listeners)
    admission = Admission(settings.limits, settings.trusted_proxies, live, reactor)
    return [
        Site(
            listener=listener,
            contexts=held.contexts(listener),
            routes=RouteTable(settings.routes, listener.name),
            timeouts=settings.timeouts,
            limits=settings.limits,
            proxies=settings.trusted_proxies,
            dialer=dialer,
            pumps=movers.pumps,
            handshakes=movers.handshakes,
            live=live,
            admission=admission,
            observer=observer,
            reactor=reactor,
            reserved=reserved,
        )
        for listener in settings.listeners
    ]


def _what(listener: Listener) -> str:
    if listener.mode is Mode.TCP:
        what = "layer 4, TLS ends here" if listener.tls else "layer 4"
    elif listener.redirect_to_https:
        what = "http, redirects to https"
    else:
        what = "https and wss" if listener.tls else "http and ws"
    if listener.accept_proxy:
        what += ", behind a PROXY line"
    return what + (", some names and protocols passed on" if listener.passing else "")


def _unacknowledged_seconds(settings: Settings) -> float:
    """Twice the longest `write_stall`, so that a reader that has only stopped is not taken for one that is gone."""
    every = [settings.timeouts, *(route.timeouts for route in settings.routes)]
    return max(sockets.UNACKNOWLEDGED_SECONDS, *(2 * each.write_stall for each in every))


def _ids() -> Callable[[], str]:
    """Session names: unique in this process, and unlike those of the process before it."""
    prefix = secrets.token_hex(2)
    numbers = itertools.count(1)
    return lambda: f"{prefix}-{next(numbers)}"
