"""What a search finds, written down: the input, and the traceback beside it. Knows nothing of atheris or of wsrelay."""

import hashlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

NEW = "NEW FIND: "


def noting(check: Callable[[bytes], None], folder: Path) -> Callable[[bytes], None]:
    """The same check, whose failures do not end the search: each is written to `folder` once.

    Two failures are the same one if they were raised at the same place; where that place compares two verdicts, if
    these are of the same kinds too.
    """
    known = set()

    def checked(data: bytes) -> None:
        try:
            check(data)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            key = (type(error).__name__, place.filename, place.lineno, getattr(error, "kinds", ""))
            if key in known:
                return
            known.add(key)
            text = "".join(traceback.format_exception(error))
            name = hashlib.sha1(repr(key).encode(), usedforsecurity=False).hexdigest()[:12]
            (folder / name).write_bytes(data)
            (folder / f"{name}.txt").write_text(f"{data!r}\n\n{text}")
            print(f"{NEW}{folder / name}\n{text}", file=sys.stderr, flush=True)

    return checked
