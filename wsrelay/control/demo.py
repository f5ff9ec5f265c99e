"""The demo: configuration, certificate and upstream made on the spot for this machine only, and their service."""

import importlib.util
import shlex
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IReactorTCP, IReactorUNIX

from wsrelay.config.settings import (
    Certificate,
    Limits,
    Listener,
    Mode,
    PathKind,
    PathPattern,
    Route,
    ServerAddress,
    Settings,
    TcpAddress,
    Timeouts,
    ToUpstream,
    UnixAddress,
    Upstream,
)
from wsrelay.control import demo_page
from wsrelay.control.demo_certificate import make_certificate
from wsrelay.control.demo_upstream import EchoFactory
from wsrelay.control.service import RelayService
from wsrelay.net.legs import Reactor

_LOOPBACK = "127.0.0.1"
# RFC 6455 1.3's own example; whoever checks the answer finds it there.
_SAMPLE_KEY = "dGhlIHNhbXBsZSBub25jZQ=="


@attrs.frozen
class Ports:
    """Where the demo listens, on loopback; 0 lets the system choose."""

    ws: int = 8080
    wss: int = 8443
    layer4: int = 8444


class DemoService(Service):
    """The demo as a Twisted service: the echo upstream, and the relay in front of it.

    Attributes:
        relay: The relay's own service, once bound.
    """

    def __init__(self, reactor: Reactor, ports: Ports = Ports(), say: Callable[[str], None] | None = None) -> None:
        """Nothing is opened yet.

        Args:
            reactor: The one that runs; has TCP and UNIX sockets too.
            ports: Where to listen.
            say: Gets what to try, once every listener accepts; None prints it.
        """
        self._reactor = reactor
        self._ports = ports
        self._say = say or _print
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._upstream: IListeningPort | None = None
        self.relay: RelayService | None = None

    def privilegedStartService(self) -> None:
        """Make the certificate, start the upstream, bind the ports."""
        # It goes at exit too, for a start that fails ends the process.
        self._folder = tempfile.TemporaryDirectory(prefix="wsrelay-demo-")
        folder = Path(self._folder.name)
        chosen = settings(folder, upstream_address(folder), self._ports)
        self._upstream = start_upstream(self._reactor, chosen.upstreams[0].servers[0])
        self.relay = RelayService(chosen, self._reactor)
        self.relay.privilegedStartService()
        super().privilegedStartService()  # type: ignore[no-untyped-call]  # Twisted has no types here

    def startService(self) -> None:
        """Accept clients, and say what to try."""
        if self.relay is None:  # not every runner calls privilegedStartService
            self.privilegedStartService()
        assert self.relay is not None
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no types here
        self.relay.startService()
        ports = Ports(*(int(listening.name.rpartition(":")[2]) for listening in self.relay.listening))
        self._say(banner(ports, self.relay.listening[1].site.listener.tls[0]))

    def stopService(self) -> Deferred[None]:
        """End the relay, then its upstream, then remove what was made."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has no types here
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self.relay is not None:
            await self.relay.stopService()
        if self._upstream is not None:
            await maybeDeferred(self._upstream.stopListening)
        if self._folder is not None:
            self._folder.cleanup()


def upstream_address(folder: Path) -> ServerAddress:
    """A UNIX socket in `folder`: known before anything listens, and out of other users' reach."""
    return UnixAddress(str(folder / "upstream.sock"))


def settings(folder: Path, upstream: ServerAddress, ports: Ports = Ports()) -> Settings:
    """The demo's configuration; makes its certificate in `folder`.

    Args:
        folder: An existing folder, private to this user.
        upstream: Where the echo upstream will listen.
        ports: Where to listen.
    """
    certificate = make_certificate(folder)
    # Ctrl-C must end the demo at once, though a page's tunnel would stay for ever.
    timeouts = Timeouts(drain=1.0)
    return Settings(
        listeners=(
            Listener("ws", TcpAddress(_LOOPBACK, ports.ws)),
            Listener("wss", TcpAddress(_LOOPBACK, ports.wss), tls=(certificate,)),
            Listener("layer4", TcpAddress(_LOOPBACK, ports.layer4), mode=Mode.TCP, upstream="demo"),
        ),
        upstreams=(Upstream("demo", (upstream,)),),
        routes=tuple(_route(path, timeouts) for path in ("/", "/wss")),
        timeouts=timeouts,
        # One person's browser; and no warning about descriptors.
        limits=Limits(connections=500),
    )


def start_upstream(reactor: object, address: ServerAddress) -> IListeningPort:
    """Let the echo upstream listen at `address`.

    Args:
        reactor: Provides IReactorUNIX, or IReactorTCP for a TCP address.
        address: Where; port 0 lets the system choose.

    Raises:
        CannotListenError: The address is taken, or the path is too long for a UNIX socket.
    """
    factory = EchoFactory(demo_page.load())
    match address:
        case UnixAddress(path=path):
            return IReactorUNIX(reactor).listenUNIX(path, factory, mode=0o600)
        case TcpAddress(host=host, port=port):
            return IReactorTCP(reactor).listenTCP(port, factory, interface=host)


def banner(ports: Ports, certificate: Certificate) -> str:
    """What to try: the three addresses, and a command for each.

    Args:
        ports: Those that really listen.
        certificate: The one from the settings.
    """
    wss, ws, layer4 = f"localhost:{ports.wss}", f"localhost:{ports.ws}", f"localhost:{ports.layer4}"
    return f"""\
wsrelay demo: on this machine only, until Ctrl-C.

  https and wss   open https://{wss}/ in a browser. The certificate was made just now and
                  nobody vouches for it, so the browser asks; go on to the site.
                      curl -k https://{wss}/head
                      {_websocket_command("wss", wss, certificate)}

  http and ws     the same without TLS: http://{ws}/
                      curl http://{ws}/head
                      {_websocket_command("ws", ws, certificate)}

  layer 4         the same upstream, its bytes unread, so it does not learn who you are: http://{layer4}/
                      curl http://{layer4}/head
                      {_websocket_command("ws", layer4, certificate)}
"""


def _websocket_command(scheme: str, place: str, certificate: Certificate) -> str:
    if importlib.util.find_spec("websockets") is not None:
        trust = f"SSL_CERT_FILE={shlex.quote(str(certificate.chain))} " if scheme == "wss" else ""
        return f"{trust}{shlex.quote(sys.executable)} -m websockets {scheme}://{place}/wss"
    url = f"{'https' if scheme == 'wss' else 'http'}://{place}/wss"
    return (
        "curl -skiN --http1.1 -m 2 -o - -H 'Connection: Upgrade' -H 'Upgrade: websocket' "
        f"-H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: {_SAMPLE_KEY}' {url}"
    )


def _route(path: str, timeouts: Timeouts) -> Route:
    return Route(PathPattern(PathKind.PREFIX, path.encode()), ToUpstream("demo"), timeouts=timeouts, name=path)


def _print(text: str) -> None:
    # Not sys.stdout: twistd has made that a part of its log.
    print(text, file=sys.__stdout__, flush=True)
