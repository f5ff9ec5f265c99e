"""Listening sockets: bound before privileges are dropped, accepting once the service runs, and surviving EMFILE.

Makes a leg and a session for each client. Knows nothing of what a session does.
"""

import errno
import os
import socket
import stat
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.systemd import ListenFDs
from zope.interface import implementer

from wsrelay.config.settings import ListenAddress, SystemdAddress, UnixAddress
from wsrelay.net import sockets
from wsrelay.net.legs import Leg
from wsrelay.net.record import SessionRecord
from wsrelay.net.session import Session
from wsrelay.net.site import Site

log = Logger()

# Of 600 simultaneous connects, 347 waited for a retransmitted SYN with Twisted's 50, and none with this.
_BACKLOG = 4096

# Accepts in one turn of the reactor: enough to empty a burst quickly, few enough that tunnels keep their turn.
_ACCEPTS_A_TURN = 64

# With no descriptor left, the next try is after this long (nginx: accept_mutex_delay, 500 ms).
_EXHAUSTED_PAUSE_SECONDS = 0.5


class CannotListen(Exception):
    """An address cannot be listened on; the text names it and says why."""


def bind(
    address: ListenAddress, inherited: ListenFDs, unacknowledged_seconds: float = sockets.UNACKNOWLEDGED_SECONDS
) -> socket.socket:
    """A listening, non-blocking socket.

    Args:
        address: Where. A stale UNIX socket file, which nobody listens on, is replaced.
        inherited: What systemd passed to the process.
        unacknowledged_seconds: For `sockets.tune`.

    Raises:
        CannotListen: With the address and the cause.
    """
    try:
        if isinstance(address, SystemdAddress):
            listening = _inherit(address, inherited)
        elif isinstance(address, UnixAddress):
            listening = _bind(socket.AF_UNIX, address.path)
        else:
            family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
            listening = _bind(family, (address.host, address.port))
    except OSError as error:
        raise CannotListen(f"cannot listen on {address}: {error.strerror or error}{_hint(error)}") from error
    # Accepted connections inherit the options, which saves six system calls for each.
    sockets.tune(listening, unacknowledged_seconds)
    return listening


def _inherit(address: SystemdAddress, inherited: ListenFDs) -> socket.socket:
    names = inherited.inheritedNamedDescriptors()
    if len(names) < len(inherited.inheritedDescriptors()):
        raise CannotListen(
            f"cannot listen on {address}: systemd passed two sockets of one name, and only one of them would be "
            "served; give each socket unit one ListenStream= and its own FileDescriptorName="
        )
    if address.name not in names:
        have = ", ".join(sorted(names)) or "none"
        raise CannotListen(f"cannot listen on {address}: systemd passed no socket of that name (it passed: {have})")
    listening = socket.socket(fileno=os.dup(names[address.name]))
    if listening.type != socket.SOCK_STREAM or not listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        listening.close()
        raise CannotListen(f"cannot listen on {address}: it is no listening stream socket (Accept=yes is not for us)")
    listening.setblocking(False)
    return listening


def _bind(family: int, name: Any) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if family == socket.AF_UNIX:
            _remove_stale(name)
        else:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # [::] and 0.0.0.0 are two listeners, whatever the system's default is.
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(name)
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def _remove_stale(path: str) -> None:
    """Remove a socket file that nobody listens on; anything else there stays and makes the bind fail."""
    if not (os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode)):
        return
    # Non-blocking: a busy server with a full queue answers EAGAIN, and is alive.
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        if probe.connect_ex(path) == errno.ECONNREFUSED:
            os.unlink(path)


def _hint(error: OSError) -> str:
    if error.errno == errno.EACCES:
        return " (ports below 1024 need root, CAP_NET_BIND_SERVICE, or a socket from systemd)"
    if error.errno == errno.EADDRINUSE:
        return " (another program listens there; `ss -ltnp` names it)"
    return ""


@implementer(IReadDescriptor)
class Listening:
    """One listening socket. Each accepted client becomes a session of the Site that is current then."""

    def __init__(self, listening: socket.socket, site: Site, new_id: Callable[[], str]) -> None:
        """Not accepting yet. `site` may be replaced at any time: new sessions get the new one."""
        self.site = site
        self._socket = listening
        self._family = listening.family  # a property that looks an enum up each time
        self._new_id = new_id
        self._accepting = False
        self._exhausted = False

    @property
    def name(self) -> str:
        """Where it listens, as the kernel says: with the real port where 0 was asked for."""
        name = self._socket.getsockname()
        return f"unix:{name}" if self._family == socket.AF_UNIX else sockets.text_of(self._family, name)

    def start(self) -> None:
        """Accept from now on."""
        self._accepting = True
        self.site.reactor.addReader(self)

    def stop(self) -> None:
        """Accept no more and close. A UNIX socket's file goes too, unless systemd owns it."""
        if self._socket.fileno() == -1:
            return
        self._accepting = False
        self.site.reactor.removeReader(self)
        address = self.site.listener.address
        self._socket.close()
        if isinstance(address, UnixAddress):
            try:
                os.unlink(address.path)
            except OSError as error:
                log.warn("cannot remove {path}: {error}", path=address.path, error=error)

    def doRead(self) -> None:
        """Clients wait: accept some of them."""
        for _ in range(_ACCEPTS_A_TURN):
            try:
                connected, name = self._socket.accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in sockets.EXHAUSTED:
                    self._pause(error)
                    return
                # A client that left while it was queued (ECONNABORTED, EPROTO …) concerns nobody else.
                continue
            try:
                self._welcome(connected, name)
            except BaseException:
                connected.close()
                raise
        if self._exhausted:
            self._exhausted = False
            log.info("accepting on {address} again", address=self.name)

    def connectionLost(self, reason: Failure) -> None:
        """An accept failed in a way that is a bug of ours; it must not deafen the port for everybody else."""
        log.failure("accepting on {address} failed", reason, address=self.name)
        self.site.reactor.callLater(_EXHAUSTED_PAUSE_SECONDS, self._resume)

    def fileno(self) -> int:
        """The descriptor, -1 once closed."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """Constant: Twisted asks before every event."""
        return "listen"

    def _pause(self, error: OSError) -> None:
        """No descriptor is left: existing sessions go on, new ones wait in the kernel's queue."""
        if not self._exhausted:
            self._exhausted = True
            log.error(
                "no connection can be accepted on {address} ({error}); trying again every {pause} s; "
                "raise LimitNOFILE= or `ulimit -n`",
                address=self.name,
                error=error.strerror,
                pause=_EXHAUSTED_PAUSE_SECONDS,
            )
        self.site.reactor.removeReader(self)
        self.site.reactor.callLater(_EXHAUSTED_PAUSE_SECONDS, self._resume)

    def _resume(self) -> None:
        if self._accepting:
            self.site.reactor.addReader(self)

    def _welcome(self, connected: socket.socket, name: Any) -> None:
        site = self.site
        record = SessionRecord(
            id=self._new_id(),
            listener=site.listener.name,
            client=sockets.text_of(self._family, name),
            opened_at=site.reactor.seconds(),
        )
        host = sockets.host_of(self._family, name)
        if site.admission.turns_away(record, host, site.listener):
            connected.close()
            site.observer.session_failed(record)
            return
        connected.setblocking(False)
        try:
            session = Session(Leg(connected, site.reactor, record.client), site, record, host)
        except BaseException:
            site.admission.leave(record)
            raise
        session.start()
