"""`python -m tests.corpus.compare`: the corpus against other proxies, with the checks that make sense for any of them.

Those are: h11 reads all that reaches an upstream, and reads as many requests as the case states; what must not reach
anybody does not; the answers are of the same kind (served, moved, or refused, whatever the number); a tunnel works.
A tool and not a test: it waits with the clock, for it cannot look into the others. The corpus states what wsrelay has
to do, so a failure of another proxy is a difference: many are allowed by the RFCs, and not each of them is a hole.
"""

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bench.running import Failed
from tests.corpus.cases import Case, load
from tests.corpus.clients import SOURCES, Connected, Plain, Secure
from tests.corpus.over_sockets import run
from tests.corpus.peers import Write, installed, running
from tests.corpus.upstream import ScriptedUpstreams, scripted_upstreams
from tests.corpus.verdict import OLD, Seen, complaints
from tests.tls import Authority

# Long enough for a proxy on a busy machine to take and pass on what has come, in seconds.
PAUSE = 0.02
# For an answer or an end that may never come.
PATIENCE = 1.5

Failures = dict[str, dict[str, list[str]]]


class PeerPlace:
    """A proxy in a process of its own, seen from outside."""

    def __init__(self, ports: tuple[int, int], upstreams: ScriptedUpstreams, authority: Path) -> None:
        self.upstreams = upstreams
        self._ports = ports
        self._authority = authority

    def connect(self, case: Case) -> Connected:
        """A client's connection for this case."""
        source = SOURCES[case.client_from]
        if case.listener == "tls":
            return Secure(("127.0.0.1", self._ports[1]), source, self._authority)
        return Plain(("127.0.0.1", self._ports[0]), source, PATIENCE)

    def pause(self) -> None:
        """Wait until what was sent has most probably been taken."""
        time.sleep(PAUSE)

    def settle(self) -> None:
        """Wait until nothing more comes to the upstreams; then end what a pool keeps."""
        before = -1
        while (now := self.upstreams.seen()) != before:
            before = now
            time.sleep(PAUSE)
        self.upstreams.end_all()

    def log_lines(self) -> None:
        """Others write other logs."""
        return None


# Complaints that are none about others: the reason is wsrelay's word, and HTTP/1.0 may go up.
OURS = ("reason", "refusals before", OLD)

# What only wsrelay need do: its routes, its fields, its log, and whether it closes.
NOT_ASKED = {
    **dict.fromkeys(("target", "group", "body", "reason", "interim", "cut", "closes")),
    **dict.fromkeys(("upstream_has", "client_has", "log_lacks"), ()),
    **{name: {} for name in ("fields", "trailers", "log")},
}


def as_it_was(case: Case, seen: Seen) -> dict[str, object]:
    """What is compared in another manner, stated as it was found, so that nobody objects."""
    broken = bool(seen.finals) and not seen.finals[-1].complete
    statuses = tuple(each.status for each in seen.finals)
    return {"status": statuses, "requests": case.needed_requests, "broken": broken}


def kinds(statuses: tuple[int, ...]) -> list[str]:
    """What answers are, for a comparison between proxies whose numbers differ."""
    return [
        "refused" if status >= 400 else "served" if status == 101 or status < 300 else "moved" for status in statuses
    ]


def objections(case: Case, seen: Seen) -> list[str]:
    """Where a proxy does what none should do with this case."""
    asked = case.model_copy(update={**NOT_ASKED, **as_it_was(case, seen)})
    found = [each for each in complaints(asked, seen) if not each.startswith(OURS)]
    expected, answered = kinds(case.status), kinds(tuple(each.status for each in seen.finals))
    # Who hangs up instead of answering has refused as well.
    if answered != expected and not (expected[-1:] == ["refused"] and answered == expected[:-1]):
        found.append(f"expected {expected}, found {answered}")
    return found


def ask(name: str, write: Write, cases: list[Case], failures: Failures) -> None:
    """All cases to one proxy; it is left out if it does not start."""
    try:
        failures[name] = asked_all(write, cases)
    except Failed as failure:
        print(f"{name}: left out: {failure}", file=sys.stderr)


def asked_all(write: Write, cases: list[Case]) -> dict[str, list[str]]:
    """The objections to one proxy, by case."""
    failures = {}
    with tempfile.TemporaryDirectory(prefix="corpus-") as name, scripted_upstreams() as upstreams:
        issuer = Authority(Path(name))
        authority = Path(name) / "authority.pem"
        issuer.root.cert_pem.write_to_path(str(authority))
        with running(write, upstreams.ports, issuer.issue("localhost")) as ports:
            place = PeerPlace(ports, upstreams, authority)
            for case in cases:
                # Whether it closes is its own affair; what comes before its end is not.
                open_ended = case.model_copy(update={"closes": None, "reason": None})
                try:
                    found = objections(case, run(open_ended, place))
                except OSError as error:
                    found = [f"no connection: {error}"]
                if found:
                    failures[case.name] = found
    return failures


def table(cases: list[Case], failures: Failures) -> Iterator[str]:
    """Passed and total, a line for each family."""
    totals = Counter(case.family for case in cases)
    family = {case.name: case.family for case in cases}
    failed = {peer: Counter(family[name] for name in found) for peer, found in failures.items()}
    width = max(map(len, totals))
    yield f"{'':{width}}" + "".join(f"{peer:>12}" for peer in failures)
    for each, total in totals.items():
        yield f"{each:{width}}" + "".join(f"{f'{total - failed[peer][each]}/{total}':>12}" for peer in failures)
    total = len(cases)
    yield f"{'all':{width}}" + "".join(f"{f'{total - len(found)}/{total}':>12}" for found in failures.values())


def main() -> None:
    """Ask them all, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="families or names with this in them")
    parser.add_argument("--show", default="", help="a proxy whose failures are listed, each with what was seen")
    chosen = parser.parse_args()
    cases = [case for case in load() if case.sockets and case.peers and chosen.only in f"{case.family} {case.name}"]
    if not cases:
        parser.error(f"no case has {chosen.only!r} in its family or name")
    peers = installed()
    failures: Failures = {}
    threads = [threading.Thread(target=ask, args=(name, write, cases, failures)) for name, write in peers.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    failures = {name: failures[name] for name in peers if name in failures}
    print("\n".join(table(cases, failures)))
    ours = failures.get("wsrelay", {})
    better = {name: [peer for peer, found in failures.items() if name not in found] for name in ours}
    print(f"\nwhere another does better than wsrelay: {sum(map(bool, better.values()))} cases")
    for name, others in better.items():
        if others:
            print(f"  {name} ({', '.join(others)}): {'; '.join(ours[name])[:300]}")
    for name, found in failures.get(chosen.show, {}).items():
        print(f"{chosen.show}: {name}: {'; '.join(found)[:400]}")


if __name__ == "__main__":
    main()
