"""Every case of the corpus through a whole relay on real sockets, with h11 on both sides of it."""

import pytest

from tests.corpus.cases import Case, load
from tests.corpus.over_sockets import run
from tests.corpus.place import RelayPlace
from tests.corpus.verdict import complaints


@pytest.mark.parametrize("case", [case for case in load() if case.sockets], ids=lambda case: case.name)
def test_the_relay_does_what_the_case_states(place: RelayPlace, case: Case) -> None:
    found = complaints(case, run(case, place))
    assert not found, "\n".join([case.why, *found])
