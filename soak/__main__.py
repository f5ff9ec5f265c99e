"""The command: reads what is wanted, soaks one pump after the other, prints; status 1 where anything was violated."""

import argparse
import asyncio
import secrets
import signal
import sys
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path

from bench.running import Failed
from soak import kinds, report
from soak.relay import pumps_here
from soak.results import Done, Wanted
from soak.rounds import soak
from soak.wires import PATIENCE


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m soak",
        description="Load a relay with every kind of traffic at once, and check every byte of it.",
        epilog="Exit status: 0 nothing violated, 1 something was, 2 it could not be run.",
    )
    parser.add_argument("--minutes", type=float, default=30.0, help="for each pump (default 30)")
    parser.add_argument("--connections", type=int, default=300, help="at a time (default 300)")
    parser.add_argument("--pump", choices=["native", "reactor", "both"], default="both")
    parser.add_argument("--seed", type=int, help="of an earlier run, whose connections are to do the same again")
    parser.add_argument("--kinds", nargs="+", choices=list(kinds.KINDS), default=[], help="nothing but these")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds of standing still before it counts")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, too")
    found = parser.parse_args(given)
    if found.minutes <= 0 or found.connections < 1:
        parser.error("--minutes and --connections must be more than nothing")
    return found


def repeated(given: argparse.Namespace, seed: int) -> str:
    """The command that does the same again, but for the pump."""
    only = f" --kinds {' '.join(given.kinds)}" if given.kinds else ""
    return f"python -m soak --minutes {given.minutes:g} --connections {given.connections} --seed {seed}{only}"


def say(text: str) -> None:
    """What is under way, for those who wait."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def pumps(given: str) -> list[str]:
    """The pumps that are wanted.

    Raises:
        Failed: One of them cannot be used here.
    """
    here = pumps_here()
    if given == "both":
        if len(here) == 1:
            say("the native pump is not there: the reactor's alone")
        return here
    if given not in here:
        raise Failed(f"the {given} pump is not there")
    return [given]


async def ended_in_order(running: Coroutine[object, object, Done]) -> Done:
    """Run it; SIGTERM unwinds it as Ctrl-C does, so that what it started is ended."""
    task = asyncio.ensure_future(running)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def main() -> int:
    """Run; the exit status says whether anything was violated."""
    given = arguments()
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    wanted = Wanted(seed, 60 * given.minutes, given.connections, given.patience, tuple(given.kinds))
    results: list[Done] = []
    try:
        for pump in pumps(given.pump):
            say(f"{pump}: seed {seed}, {given.minutes:g} minutes, {given.connections} connections at a time")
            results.append(asyncio.run(ended_in_order(soak(pump, wanted, say))))
            print(report.as_text(results[-1], repeated(given, seed)), flush=True)
    except (KeyboardInterrupt, asyncio.CancelledError) as how:
        say("interrupted; everything that was started has been ended")
        return 128 + (signal.SIGINT if isinstance(how, KeyboardInterrupt) else signal.SIGTERM)
    except Failed as failure:
        say(str(failure))
        return 2
    finally:
        if given.json:
            given.json.write_text(report.as_json(results))
    return 1 if any(one.violations for one in results) else 0


if __name__ == "__main__":
    sys.exit(main())
