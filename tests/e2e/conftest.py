"""Real peers and every way through the relay: plain, TLS, layer 4 three times, and two relays in a chain."""

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.peers import MOST_BYTES, NODE, Edge, Upstream, choose, configuration, echo_server, needed, serving
from tests.e2e.websockets_tls import serving_tls
from tests.harness import Relay
from tests.running import Running
from tests.tls import Authority, Issued


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def issued(authority: Authority) -> Issued:
    return authority.issue("localhost")


@pytest.fixture(scope="session")
def root(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("root") / "root.pem"
    authority.root.cert_pem.write_to_path(file)
    return file


@pytest.fixture(scope="session")
def server_tls(issued: Issued) -> ssl.SSLContext:
    """For upstreams that end TLS themselves."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.chain, issued.key)
    return context


@pytest.fixture
def edge(
    relay: Callable[..., Relay], authority: Authority, issued: Issued, root: Path
) -> Callable[[str, Upstream], Edge]:
    """Start one way to an upstream."""
    tls, layer4 = f"tls = [{issued.toml}]", 'mode = "tcp"\nupstream = "app"'

    def start(way: str, upstream: Upstream) -> Edge:
        match way:
            case "plain":
                first = relay(configuration(upstream.plain, ""))
            case "tls":
                first = relay(configuration(upstream.plain, tls))
            case "layer 4 plain":
                first = relay(configuration(upstream.plain, layer4, route=False))
            case "layer 4 with our tls":
                first = relay(configuration(upstream.plain, f"{layer4}\n{tls}", route=False))
            case "layer 4 passing tls":
                first = relay(configuration(upstream.secure, layer4, route=False))
            case "two relays":
                inner = relay(configuration(upstream.plain, "", before='trusted_proxies = ["127.0.0.1"]'))
                first = relay(configuration(inner.port(), tls))
            case _:
                raise AssertionError(way)
        trust = None if way.endswith("plain") else authority.trusting()
        return Edge(way, first.port(), trust, root)

    return start


@pytest.fixture(scope="module")
def echo(server_tls: ssl.SSLContext) -> Iterator[Upstream]:
    """An echo upstream of the `websockets` package."""
    with (
        serving(echo_server()) as plain,
        serving_tls(ssl=server_tls, select_subprotocol=choose, max_size=MOST_BYTES) as secure,
    ):
        yield Upstream(plain, secure)


# Other programs.


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start other programs; whatever still runs after the test is ended."""
    started: list[Running] = []

    def start(*command: str, **variables: str) -> Running:
        started.append(Running(command, tmp_path, variables))
        return started[-1]

    yield start
    for each in started:
        each.dispose()


@pytest.fixture(scope="session")
def node() -> str:
    """Node, with the packages of tests/e2e/node."""
    found = needed("node", "nodejs npm")
    if not (NODE / "node_modules").is_dir():
        pytest.skip("Node's packages are not installed; run `make peers` (or `npm ci` in tests/e2e/node)")
    return found
