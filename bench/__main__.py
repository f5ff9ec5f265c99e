"""The command: reads what is wanted, runs the rounds, prints and writes what was found."""

import argparse
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

from bench import machine, page, programs, proxies, rounds, running
from bench.bar import verdicts
from bench.configurations import ROOT
from bench.kinds import MLKEM
from bench.results import Results, from_json
from bench.table import of_bar, tables
from bench.workloads import FULL, QUICK, WORKLOADS, Scale


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        prog="make bench",
        description="Compare the relay with nginx, HAProxy and Caddy, each on one core, in one run.",
        epilog='With make: make bench BENCH="--quick --only small,connect"',
    )
    parser.add_argument("--rounds", type=int, help="how often everything is measured (default 5; quick: 1)")
    parser.add_argument("--quick", action="store_true", help="under two minutes: short measurements, fewer tunnels")
    parser.add_argument("--only", type=words([each.name for each in WORKLOADS]), help="workloads, with commas")
    parser.add_argument("--peers", type=words(list(proxies.FINDERS)), help="proxies to run, with commas")
    parser.add_argument("--json", metavar="FILE", help="write every figure there; - prints JSON instead of the tables")
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE", help="measure nothing, show a run's JSON")
    parser.add_argument("--write-docs", action="store_true", help="put figures and charts into docs/")
    found = parser.parse_args(given)
    if found.rounds is not None and found.rounds < 1:
        parser.error("--rounds must be 1 or more")
    return found


def repeated(wanted: argparse.Namespace) -> str:
    """The command that measures the same again; where figures were written to is nobody else's business."""
    rounds_wanted = [] if wanted.rounds is None else ["--rounds", str(wanted.rounds)]
    chosen = [
        part
        for name in ("only", "peers")
        if (found := getattr(wanted, name))
        for part in (f"--{name}", ",".join(found))
    ]
    return " ".join(["python -m bench", *["--quick"] * wanted.quick, *rounds_wanted, *chosen])


def words(known: Sequence[str]) -> Any:
    """A type for argparse: known words with commas between them."""

    def split(text: str) -> list[str]:
        chosen = text.split(",")
        for word in chosen:
            if word not in known:
                raise argparse.ArgumentTypeError(f"{word!r} is not one of {', '.join(known)}")
        return chosen

    return split


def fitting(scale: Scale, notes: list[str]) -> Scale:
    """The scale with no more tunnels than descriptors allow: a proxy needs two for each."""
    most = (running.descriptor_limit() - 1_500) // 2
    if scale.crowd[-1] <= most:
        return scale
    notes.append(f"at most {most:,} tunnels: the limit of descriptors is {running.descriptor_limit():,} a process")
    crowd = (*(count for count in scale.crowd if count < most), most)
    return attrs.evolve(scale, crowd=crowd, idle=min(scale.idle, most))


@contextlib.contextmanager
def certificate() -> Iterator[Path]:
    """A folder with a P-256 key and its certificate, the same for every proxy."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        command = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost "
            "-addext subjectAltName=DNS:localhost -keyout key.pem -out chain.pem"
        )
        try:
            subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as problem:
            raise running.Failed(f"no certificate without the openssl program: {problem}") from None
        (folder / "both.pem").write_text((folder / "chain.pem").read_text() + (folder / "key.pem").read_text())
        yield folder


def measured(wanted: argparse.Namespace) -> Results:
    """Run everything that is wanted."""
    programs.compiled()
    found, notes = [], []
    for name, find in proxies.FINDERS.items():
        if wanted.peers and name not in wanted.peers:
            continue
        proxy = find()
        if isinstance(proxy, str):
            notes.append(proxy)
            rounds.say(proxy)
        else:
            found.append(proxy)
    scale = fitting(QUICK if wanted.quick else FULL, notes)
    if wanted.quick:
        notes.append(
            f"--quick: short measurements, and at most {scale.crowd[-1]:,} tunnels instead of {FULL.crowd[-1]:,}"
        )
    chosen = [each for each in WORKLOADS if not wanted.only or each.name in wanted.only]
    if not programs.can_offer(MLKEM.groups):
        if any(MLKEM in each.variants for each in chosen):
            notes.append(f"TLS ML-KEM: skipped, the load's OpenSSL does not know {MLKEM.groups} (3.5 does)")
        chosen = [attrs.evolve(each, variants=tuple(v for v in each.variants if v is not MLKEM)) for each in chosen]
    results = Results(
        repeated(wanted),
        machine.described(),
        {proxy.name: proxy.version for proxy in found},
        attrs.asdict(scale),
        notes,
    )
    with certificate() as folder:
        bench = rounds.Bench(found, chosen, scale, folder, running.cores(), results)
        bench.run(wanted.rounds or (1 if wanted.quick else 5))
    return results


def show(results: Results, wanted: argparse.Namespace) -> None:
    """Print the tables or the JSON; write what else is wanted."""
    judged = verdicts(results)
    bar = [
        attrs.asdict(verdict.bar) | {"subject": verdict.subject, "measured": verdict.measured, "word": verdict.word()}
        for verdict in judged
    ]
    if wanted.json == "-":
        print(results.to_json(bar), end="")
    else:
        shown = [table.as_text() for table in [*tables(results), of_bar(judged)] if table.rows]
        print("\n\n".join([page.machine(results), *shown]))
        if wanted.json:
            Path(wanted.json).write_text(results.to_json(bar))
    paths = page.write(results, ROOT / "docs") if wanted.write_docs else page.draw(results, programs.BUILD)
    for path in paths:
        rounds.say(f"written: {path.relative_to(ROOT)}")


def main() -> int:
    """Run; the exit status says whether it ran, not whether the bar was met."""
    wanted = arguments()
    try:
        with running.ended_in_order():
            results = from_json(wanted.source) if wanted.source else measured(wanted)
            show(results, wanted)
    except KeyboardInterrupt:
        rounds.say("interrupted; everything that was started has been ended")
        return 130
    except running.Failed as failure:
        rounds.say(str(failure))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
