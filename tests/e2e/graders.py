"""What grades TLS: testssl.sh, sslscan and openssl's own client, and how their reports are read."""

import json
import os
import re
import signal
import subprocess
import xml.etree.ElementTree
from collections.abc import Sequence
from pathlib import Path

import attrs

from tests.e2e.peers import needed
from tests.harness import PATIENCE_SECONDS

# One grading takes half a minute where nothing else runs.
GRADING_SECONDS = 240

# WARN and DEBUG say that something could not be judged, so they are no good marks.
MARKS = ("OK", "INFO", "LOW", "MEDIUM", "DEBUG", "WARN", "HIGH", "CRITICAL", "FATAL")
LOW = MARKS.index("LOW")

REQUEST = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

# testssl.sh looks for sessions with `openssl s_client </dev/null`, which leaves at the end of its input: with TLS 1.3
# before the tickets are there, unless they are very quick. So this openssl asks for something and stays for the answer.
PATIENT_OPENSSL = f"""#!/bin/sh
case " $* " in
*" -sess_out "* | *" -showcerts "*) printf '{REQUEST.encode("unicode_escape").decode()}' | exec OPENSSL "$@" -ign_eof ;;
*) exec OPENSSL "$@" ;;
esac
"""


@attrs.frozen
class Finding:
    """One line of testssl.sh's report."""

    name: str
    """Without the certificate's number, where there are several."""
    severity: str
    text: str

    @property
    def mark(self) -> int:
        """The lower the better."""
        return MARKS.index(self.severity)

    def __str__(self) -> str:
        return f"{self.severity} {self.name}: {self.text}"


Report = tuple[Finding, ...]


@attrs.frozen
class Suite:
    """One that a server took, as sslscan saw it."""

    version: str
    name: str
    bits: int
    preferred: bool


@attrs.frozen
class Scan:
    """What sslscan found; versions are written as `TLSv1.2`."""

    versions: frozenset[str]
    renegotiates: bool
    compresses: bool
    suites: tuple[Suite, ...]
    group_bits: tuple[int, ...]


def end(process: subprocess.Popen[bytes]) -> None:
    """End a program of a session of its own, and whatever it has started."""
    # As long as the first process has not been waited for, the group's number is nobody else's.
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _run(command: Sequence[str], folder: Path) -> str:
    """Run a grader to its end; what it printed, both outputs as one."""
    with (folder / "grader").open("w+b") as output:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        try:
            process.wait(GRADING_SECONDS)
        finally:
            end(process)
    return (folder / "grader").read_text(errors="replace")


def patient_openssl(folder: Path) -> str:
    """A program that is openssl, and stays until a session can be saved where it is to save one."""
    path = folder / "openssl"
    path.write_text(PATIENT_OPENSSL.replace("OPENSSL", needed("openssl", "openssl")))
    path.chmod(0o755)
    return str(path)


def grade(port: int, folder: Path, root: Path) -> Report:
    """Everything that testssl.sh finds, with `root` among those that it trusts."""
    program = needed("testssl", "testssl.sh")
    file = folder / "testssl.json"
    file.unlink(missing_ok=True)
    # Protocols, suites, forward secrecy, the server's preferences and defaults, HTTP fields, known vulnerabilities.
    # Left out: simulated clients and the list of every suite by name, which are never marked.
    printed = _run(
        [
            program, "-p", "-s", "-f", "-P", "-S", "-h", "-U", "--warnings", "off", "--color", "0", "--quiet",
            "--nodns", "none", "--ip", "127.0.0.1", "--openssl", patient_openssl(folder), "--openssl-timeout", "20",
            "--add-ca", str(root), "--jsonfile", str(file), f"https://localhost:{port}",
        ],
        folder,
    )  # fmt: skip
    assert file.exists(), printed
    found = [
        Finding(re.sub(r" <.*>$", "", each["id"]), each["severity"], each["finding"])
        for each in json.loads(file.read_text())
    ]
    # It is written last of all.
    assert found[-1].name == "scanTime", printed
    return tuple(found)


def scan(port: int, folder: Path) -> Scan:
    """What sslscan finds."""
    program = needed("sslscan", "sslscan")
    printed = _run([program, "--no-colour", "--xml=-", "--sni-name=localhost", f"127.0.0.1:{port}"], folder)
    found = xml.etree.ElementTree.fromstring(printed).find("ssltest")
    assert found is not None, printed

    def said(tag: str, attribute: str) -> bool:
        return any(each.get(attribute) == "1" for each in found.iter(tag))

    return Scan(
        versions=frozenset(
            f"{each.attrib['type'].upper()}v{each.attrib['version']}"
            for each in found.iter("protocol")
            if each.get("enabled") == "1"
        ),
        renegotiates=said("renegotiation", "supported"),
        # Debian's openssl cannot compress, and then sslscan writes nothing; testssl.sh asks with bytes of its own.
        compresses=said("compression", "supported"),
        suites=tuple(
            Suite(each.attrib["sslversion"], each.attrib["cipher"], int(each.attrib["bits"]), _is_preferred(each))
            for each in found.iter("cipher")
        ),
        group_bits=tuple(int(each.attrib["bits"]) for each in found.iter("group")),
    )


def _is_preferred(suite: xml.etree.ElementTree.Element) -> bool:
    return suite.get("status") == "preferred"


def s_client(folder: Path, port: int, *options: str) -> str:
    """One connection of openssl's own client, a request and its answer; what it printed."""
    command = [
        needed("openssl", "openssl"), "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "localhost",
        "-ign_eof", *options,
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=folder, input=REQUEST, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    return done.stdout
