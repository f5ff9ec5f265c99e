"""Where cases run: one relay with the corpus's configuration for all cases of a module, and the core beside it."""

from collections.abc import Iterator

import pytest

from tests.corpus.place import RelayPlace, configuration
from tests.corpus.through_core import CoreSite
from tests.corpus.upstream import ScriptedUpstreams, scripted_upstreams
from tests.tls import Authority
from wsrelay.config.load import read


@pytest.fixture(scope="module")
def upstreams() -> Iterator[ScriptedUpstreams]:
    """The upstreams of a module's cases."""
    with scripted_upstreams() as made:
        yield made


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory, _reactor: None, upstreams: ScriptedUpstreams
) -> Iterator[RelayPlace]:
    """One relay for all cases: what one of them leaves behind, the next one finds."""
    made = RelayPlace(tmp_path_factory.mktemp("corpus"), upstreams)
    yield made
    made.dispose()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> CoreSite:
    """The corpus's configuration, as it is loaded from a file."""
    folder = tmp_path_factory.mktemp("core")
    issued = Authority(folder).issue("localhost")
    ports = {"app": 1, "admin": 2, "tenant": 3}
    (folder / "relay.toml").write_text("[relay]\n" + configuration(ports, str(issued.chain), str(issued.key)))
    return CoreSite(read(folder / "relay.toml").settings)
