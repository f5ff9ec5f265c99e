"""Every case of the corpus through the sans-IO core: in one segment, byte by byte, and as h11 reads what it wrote."""

import pytest

from tests.corpus.cases import Case, load
from tests.corpus.cutting import byte_by_byte, whole
from tests.corpus.through_core import CoreRun, CoreSite
from tests.corpus.verdict import Verdict, complaints


@pytest.mark.parametrize("case", [case for case in load() if case.through_core], ids=lambda case: case.name)
def test_the_core_does_what_the_case_states_however_the_bytes_are_cut(site: CoreSite, case: Case) -> None:
    """And what it accepts, h11 accepts from the head that it wrote, and reads in the same way."""
    runs = [CoreRun(case, site, cut) for cut in (whole, byte_by_byte)]
    at_once, bytewise = (run.run() for run in runs)
    for how, seen in (("in one segment", at_once), ("byte by byte", bytewise)):
        found = complaints(case, seen)
        assert not found, "\n".join([case.why, how, *found])
    assert Verdict.of(at_once) == Verdict.of(bytewise)
    arrived = [request for request in at_once.arrived if request.complete]
    assert [(request.method, request.target, request.body) for request in arrived] == runs[0].accepted
