"""The `wsrelay` command: what a person runs beside the service. Imports Twisted only where a command needs it."""

import platform
from pathlib import Path

import click

import wsrelay
from wsrelay.config import load
from wsrelay.config.settings import Pump

_MISTAKES = 1
_CANNOT_READ = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """A WebSocket edge proxy: look at its configuration and its parts.

    The service itself is started with `twistd -n --pidfile= wsrelay --config FILE`.
    """


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_context
def check(context: click.Context, file: Path) -> None:
    """Say everything that is wrong with a configuration, as a start would.

    Exit status 0: good, perhaps with warnings; 1: mistakes; 2: the file cannot be read.
    """
    try:
        loaded = load.read(file)
    except load.CannotRead as error:
        click.echo(str(error), err=True)
        context.exit(_CANNOT_READ)
    except load.ConfigError as error:
        for mistake in error.mistakes:
            click.echo(str(mistake), err=True)
        count = len(error.mistakes)
        click.echo(f"{count} mistake{'s' if count > 1 else ''}", err=True)
        context.exit(_MISTAKES)
    if loaded.settings.pump is Pump.NATIVE:
        # Twisted is imported for this question only.
        from wsrelay.control import pumps

        if why := pumps.missing():
            click.echo(f'{file}: relay.pump: "native", and there is no native pump: {why}', err=True)
            click.echo("1 mistake", err=True)
            context.exit(_MISTAKES)
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"{file}: good")


@main.command()
def version() -> None:
    """Print the versions that a bug report needs, and the pump in use."""
    # Half a second of imports that `check` can do without.
    import OpenSSL
    import twisted
    from OpenSSL import SSL

    from wsrelay.control import pumps

    why = pumps.missing()
    # cryptography brings an OpenSSL of its own: the distribution's fixes do not reach it.
    openssl = SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode()
    for name, value in (
        ("wsrelay", wsrelay.__version__),
        ("Python", platform.python_version()),
        ("Twisted", twisted.__version__),
        ("pyOpenSSL", OpenSSL.__version__),
        ("OpenSSL", openssl.removeprefix("OpenSSL ")),
        ("pump", f"reactor; the native one is not there: {why}" if why else "native"),
    ):
        click.echo(f"{name} {value}")
