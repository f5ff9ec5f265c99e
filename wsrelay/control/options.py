"""The options of `twistd wsrelay`, and the service they make. A bad configuration ends here, before anything opens."""

import sys
from pathlib import Path
from typing import cast

from twisted.application.service import IService
from twisted.python import usage

from wsrelay import __version__
from wsrelay.config import load
from wsrelay.config.load import CannotRead, ConfigError, Loaded
from wsrelay.net.legs import Reactor


class Options(usage.Options):
    """One of three ways to say what to do: a file, the quick form, or the demo."""

    synopsis = "[--config FILE | --listen ADDRESS --upstream ADDRESS [...] | --demo]"
    longdesc = "A WebSocket edge: https, wss and layer 4 in front of your servers. `wsrelay check FILE` tests a file."
    optFlags = [["demo", None, "Run a demonstration on loopback ports; needs nothing else."]]  # noqa: RUF012  # as Twisted's base declares it
    optParameters = [  # noqa: RUF012  # as Twisted's base declares it
        ["config", "c", None, "Configuration file (TOML)."],
        ["listen", None, None, "Quick form: the address or port to listen on."],
        ["upstream", None, None, "Quick form: the server to proxy to, host:port or unix:/path."],
        ["path", None, None, "Quick form: only this path and what is below it (default: /)."],
        ["tls-chain", None, None, "Quick form: certificate chain, PEM."],
        ["tls-key", None, None, "Quick form: private key, PEM."],
    ]
    loaded: Loaded | None = None

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"wsrelay {__version__}")
        raise SystemExit(0)

    def postOptions(self) -> None:
        """Load and check, so that twistd says what is wrong instead of starting."""
        quick = [name for name in ("listen", "upstream", "path", "tls-chain", "tls-key") if self[name] is not None]
        ways = [bool(self["demo"]), self["config"] is not None, bool(quick)]
        if sum(ways) != 1:
            raise usage.UsageError("say one of: --config FILE, or --listen with --upstream, or --demo")
        try:
            if self["config"] is not None:
                self.loaded = load.read(Path(self["config"]))
            elif quick:
                self.loaded = self._quick()
        except CannotRead as error:
            raise usage.UsageError(str(error)) from None
        except ConfigError as error:
            raise usage.UsageError("the configuration has mistakes:\n" + "\n".join(map(str, error.mistakes))) from None

    def _quick(self) -> Loaded:
        if self["listen"] is None or self["upstream"] is None:
            raise usage.UsageError("the quick form needs both --listen and --upstream")
        return load.quick(self["listen"], self["upstream"], self["tls-chain"], self["tls-key"], self["path"])


def makeService(options: Options) -> IService:
    """What twistd calls: the service for these options. Runs as root, before any fork; opens nothing."""
    from twisted.internet import reactor as installed

    from wsrelay.control.service import RelayService

    reactor = cast(Reactor, installed)

    if options.loaded is None:
        from wsrelay.control.demo import DemoService

        return DemoService(reactor)
    for warning in options.loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return RelayService(options.loaded.settings, reactor)
