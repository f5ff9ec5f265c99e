"""The search of one target, in a process of its own: `python -m fuzz.search TARGET FOLDER [libFuzzer's options]`.

A known fault does not hide the others: every find is written down, and the search goes on.
"""

import hashlib
import random
import sys
from collections.abc import Callable
from pathlib import Path

import atheris

from fuzz.finds import noting
from fuzz.targets import TARGETS, load


def main() -> None:
    """Search until libFuzzer's limits are reached. Does not return."""
    name, folder, *options = sys.argv[1:]
    with atheris.instrument_imports(include=list(TARGETS[name])):
        target = load(name)
    from fuzz import seeds  # not above: what is imported before is not instrumented

    work = Path(folder)
    for each in ("corpus", "seeds", "finds"):
        (work / each).mkdir(parents=True, exist_ok=True)
    for seed in seeds.inputs(target):
        (work / "seeds" / hashlib.sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
    dictionary = Path(__file__).with_name("http.dict")
    given = [sys.argv[0], f"-dict={dictionary}", f"-artifact_prefix={work / 'finds'}/", *options]
    mutator = {"custom_mutator": _mutating(target.mutate)} if hasattr(target, "mutate") else {}
    given += [str(work / "corpus"), str(work / "seeds")]
    atheris.Setup(given, noting(target.check, work / "finds"), **mutator)
    atheris.Fuzz()


def _mutating(
    mutate: Callable[[bytes, random.Random], bytes | None],
) -> Callable[[bytes, int, int], bytes]:
    """A target's own way to mutate, as libFuzzer calls it; its blind one where the target leaves it to that."""

    def mutated(data: bytes, most: int, seed: int) -> bytes:
        made = mutate(data, random.Random(seed))
        if made is None or len(made) > most:
            return bytes(atheris.Mutate(data, most))
        return made

    return mutated


if __name__ == "__main__":
    main()
