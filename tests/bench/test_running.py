import os
import signal
import socket
import sys
import tempfile

import pytest

from bench import running

LISTEN = "import signal, socket, sys; held = socket.create_server(('127.0.0.1', int(sys.argv[1]))); signal.pause()"


def test_a_program_runs_on_its_core_and_is_ended() -> None:
    core = running.cores()[0]
    with tempfile.TemporaryFile() as output:
        process = running.start([sys.executable, "-c", "input()"], core, output, pipes=True)
        assert os.sched_getaffinity(process.pid) == {core}
        running.stop(process)
        assert process.returncode == -signal.SIGTERM
        running.stop(process)
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def test_a_program_that_ends_at_its_start_is_found_out() -> None:
    with tempfile.TemporaryFile() as output:
        process = running.start([sys.executable, "-c", "exit(3)"], running.cores()[0], output)
        with pytest.raises(running.Failed, match="status 3"):
            running.wait_until_accepting(process, running.free_ports(1))


def test_waiting_ends_when_the_ports_accept() -> None:
    ports = running.free_ports(1)
    with tempfile.TemporaryFile() as output:
        process = running.start([sys.executable, "-c", LISTEN, str(ports[0])], running.cores()[0], output)
        running.wait_until_accepting(process, ports)
        running.stop(process)


def test_free_ports_are_free_and_differ() -> None:
    ports = running.free_ports(3)
    assert len(set(ports)) == 3
    for port in ports:
        socket.create_server(("127.0.0.1", port)).close()


def test_sigterm_unwinds() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit), running.ended_in_order():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before
