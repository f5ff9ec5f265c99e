"""`python -m fuzz [TARGET …] [--seconds N] [--runs N]`: search the targets one after the other, and say what came out.

Needs atheris (`pip install -e '.[fuzz]'`). Corpora and finds stay in build/fuzz, so that the next search goes on where
this one ended. Ends with status 1 if anything was found.
"""

import argparse
import importlib.util
import re
import resource
import subprocess
import sys
from pathlib import Path

from fuzz.finds import NEW
from fuzz.targets import TARGETS

# One input may take so long, in seconds, before it counts as a hang; an ordinary one takes a millisecond.
_HANG_SECONDS = 20
_MOST_BYTES = 4096
_STATUS = re.compile(r"#(\d+)\s+\S+\s+cov: (\d+) ft: (\d+) corp: (\d+)/(\S+) .*exec/s: (\d+)")


def main() -> int:
    """Search each target that was asked for."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Search for inputs that break wsrelay.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--runs", type=int, default=-1, help="inputs to try for each target, -1 for no bound")
    parser.add_argument("--folder", type=Path, default=Path("build/fuzz"), help="for corpora and finds")
    options = parser.parse_args()
    unknown = set(options.targets) - set(TARGETS)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if importlib.util.find_spec("atheris") is None:
        parser.error("atheris is not installed; pip install -e '.[fuzz]' brings it")
    lines = [_search(name, options) for name in options.targets or TARGETS]
    print("\n".join(line for line, _ in lines))
    return 1 if any(finds for _, finds in lines) else 0


def _search(name: str, options: argparse.Namespace) -> tuple[str, int]:
    """Search one target; a line about it, and the number of finds."""
    work = (options.folder / name).absolute()
    work.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "fuzz.search", name, str(work), f"-max_total_time={options.seconds}"]
    command += [f"-runs={options.runs}", f"-timeout={_HANG_SECONDS}", f"-max_len={_MOST_BYTES}", "-print_final_stats=1"]
    status, found, before = None, 0, _processor_seconds()
    with (
        (work / "log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as run,
    ):
        assert run.stdout is not None
        for line in run.stdout:
            log.write(line)
            log.flush()
            status = _STATUS.match(line) or status
            found += line.startswith(NEW)
            if "pulse" in line or NEW in line or "DONE" in line:
                print(f"{name}: {line.rstrip()}", flush=True)
    if run.returncode and not found:
        print((work / "log").read_text()[-4000:], file=sys.stderr)
    found += bool(run.returncode)
    if status is None:
        return f"{name}: did not run", found
    tried, edges, features, kept, size, rate = status.groups()
    # A search gets what others leave of the machine, so the rate says little without this one.
    alone = int(tried) / (_processor_seconds() - before)
    tries = f"{tried} inputs, {rate} a second ({alone:.0f} a second of CPU)"
    return f"{name}: {tries}, {edges} edges, {features} features, corpus {kept} ({size}), {found} finds", found


def _processor_seconds() -> float:
    """What the searches so far have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
