"""How bytes become a script, how the corpus becomes seeds, and how a find is written down."""

import random
from pathlib import Path
from typing import Any

import pytest

from fuzz import composing, script, seeds
from fuzz.finds import NEW, noting
from fuzz.inputs import CHOICES, Cut, Input, check_same, pieces_of
from fuzz.script import Step
from wsrelay.core.outcomes import Side
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal

CLIENT, UPSTREAM = Side.CLIENT, Side.UPSTREAM


def test_bytes_without_a_mark_are_the_clients() -> None:
    assert script.read(b"GET") == script.Script((Step(CLIENT, "", b"GET"),), ())


def test_marks_divide_the_clients_bytes_from_each_answers() -> None:
    read = script.read(b"a\xfe|b\xfeUx\xfeE\xfeUy\xfeCc\xfeR")
    assert read.steps == (
        Step(CLIENT, "", b"a"),
        Step(CLIENT, "|"),
        Step(CLIENT, "", b"b"),
        Step(CLIENT, "|"),
        Step(CLIENT, "", b"c"),
        Step(CLIENT, "R"),
    )
    assert read.answers == ((Step(UPSTREAM, "", b"x"), Step(UPSTREAM, "E")), (Step(UPSTREAM, "", b"y"),))


def test_an_answer_that_nobody_asked_for_is_one_of_the_steps() -> None:
    assert script.read(b"\xfeux").steps == (Step(UPSTREAM, "|"), Step(UPSTREAM, "", b"x"))


@pytest.mark.parametrize(("data", "number"), [(b"\xfeW\x05ab", 5), (b"\xfeT\xffab", 255)])
def test_a_mark_with_a_number_takes_one_byte_for_it(data: bytes, number: int) -> None:
    assert script.read(data).steps == (Step(CLIENT, chr(data[1]), number=number), Step(CLIENT, "", b"ab"))


def test_a_number_that_is_missing_means_no_bound_and_an_unknown_mark_means_nothing() -> None:
    assert script.read(b"\xfeW").steps == (Step(CLIENT, "W", number=255),)
    assert script.read(b"\xfe\xfezb").steps == (Step(CLIENT, "", b"b"),)


def test_a_message_is_tried_whole_and_cut_and_byte_by_byte() -> None:
    given = Input.of(b"\0\0\1\1abcd")
    assert given is not None
    assert list(given.pieces()) == [[b"abcd"], [b"a", b"bc", b"d"], [b"a", b"b", b"c", b"d"]]
    assert list(pieces_of(b"", (7, 9)))[1] == [b"", b"", b""]
    assert Input.of(b"abc") is None


def test_a_verdict_that_depends_on_the_cut_is_told_by_its_kinds() -> None:
    small, large = Refusal(Reason.MALFORMED_HEAD, "x"), Refusal(Reason.HEAD_TOO_LARGE, "y")
    check_same([(small, b""), (Refusal(Reason.MALFORMED_HEAD, "other words"), b"")])
    with pytest.raises(Cut) as caught:
        check_same([(small, b""), (large, b"")])
    assert caught.value.kinds == "MALFORMED_HEAD HEAD_TOO_LARGE"
    with pytest.raises(Cut):
        check_same([(None, b"a"), (None, b"b")])


def test_the_corpus_becomes_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one.toml").write_text(
        '[[case]]\nsend = ["a\\u00ff", "b", { repeat = "cd", times = 40000 }, { wait = "200" }, "e", { end = true }]\n'
        'upstream = [["x", "y"], { close = true }, "z"]\n'
        '[[case]]\nsend = ["Upgrade: WebSocket"]\n[[case]]\nsend = ["f"]\n'
    )
    monkeypatch.setattr(seeds, "CASES", tmp_path)
    first, second, third = list(seeds.cases())[-3:]
    many = b"cd" * 150
    assert first.send == b"a\xffb" + many + b"e"
    assert first.upstream == b"xyz"
    assert first.both == first.send + first.upstream
    assert first.script == b"a\xff\xfe|b" + many + b"\xfe|e\xfeE\xfeUx\xfe|y\xfeU\xfeE\xfeUz"
    assert second.upstream.startswith(b"HTTP/1.1 101 ")
    assert b"{accept}" in second.upstream
    assert third.upstream.startswith(b"HTTP/1.1 200 ")


class Target:
    SEEDS = ((b"\0\1\2\3", "send"), (b"\3\2\1\0", "both"))
    RARE = ((b"\4\4\4\4", "script"),)

    def check(self, data: bytes) -> None:
        raise AssertionError(data)


def test_each_case_is_a_seed_for_each_choice_and_ours_for_the_rare_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "one.toml").write_text('[[case]]\nsend = ["f"]\nupstream = ["g"]\n')
    monkeypatch.setattr(seeds, "CASES", tmp_path)
    first = next(seeds.cases())
    made = list(seeds.inputs(Target()))
    assert len(made) == 3 * len(seeds.own()) + 2
    assert made[:3] == [b"\0\1\2\3" + first.send, b"\3\2\1\0" + first.both, b"\4\4\4\4" + first.script]
    assert made[-2:] == [b"\0\1\2\3f", b"\3\2\1\0fg"]


def test_a_composed_script_comes_again_with_its_seed_and_uses_every_mark() -> None:
    made = [composing.composed(random.Random(seed)) for seed in range(300)]
    assert made == [composing.composed(random.Random(seed)) for seed in range(300)]
    assert len(set(made)) > 290
    read = [script.read(one[CHOICES:]) for one in made]
    steps = [step for one in read for step in (*one.steps, *(step for answer in one.answers for step in answer))]
    assert {step.letter for step in steps} == {"", *"|TWERDX"}
    assert {step.side for step in steps} == {CLIENT, UPSTREAM}


def test_a_changed_input_keeps_its_choices_and_grows() -> None:
    for seed in range(100):
        changed = composing.changed(b"\1\2\3\4GET /", random.Random(seed))
        assert changed.startswith(b"\1\2\3\4")
        assert len(changed) > 9
        assert composing.changed(b"ab", random.Random(seed)).startswith(b"ab")


def test_a_find_is_written_down_once_and_ends_nothing(tmp_path: Path, capsys: Any) -> None:
    def check(data: bytes) -> None:
        if data.startswith(b"a"):
            raise ValueError(data)
        if data.startswith(b"b"):
            raise Cut(None, data)

    checked = noting(check, tmp_path)
    for data in (b"a1", b"fine", b"a2", b"b", b"b"):
        checked(data)
    inputs = sorted(path.read_bytes() for path in tmp_path.iterdir() if not path.suffix)
    assert inputs == [b"a1", b"b"]
    assert all("Traceback" in path.read_text() for path in tmp_path.glob("*.txt"))
    assert capsys.readouterr().err.count(NEW) == 2
