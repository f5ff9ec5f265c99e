import os
import subprocess
import sys
import threading
import time

import pytest

from bench import measure

ROLLUP = "55d9da9a8000-7ffda5728000 ---p 00000000 00:00 0    [rollup]\nRss:  1764 kB\nPss:   567 kB\nPss_Dirty: 5 kB\n"


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_the_proportional_size_is_found_among_the_others() -> None:
    assert measure.pss_of(ROLLUP) == 567 * 1024
    with pytest.raises(ValueError, match="no Pss"):
        measure.pss_of("Rss: 1 kB")


def test_a_thread_that_has_ended_still_counts() -> None:
    before = measure.cpu_seconds(os.getpid())
    thread = threading.Thread(target=burn, args=(0.02,))
    thread.start()
    thread.join()
    assert measure.cpu_seconds(os.getpid()) - before >= 0.02


def test_children_count() -> None:
    program = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as parent:
        while len(measure.family(parent.pid)) < 2:
            time.sleep(0.005)
        child = measure.family(parent.pid)[1]
        assert measure.pss_bytes(parent.pid) > measure.pss_bytes(child) > 0
        assert measure.cpu_seconds(parent.pid) > measure.cpu_seconds(child) >= 0
        parent.communicate(b"\n")


def test_an_idle_process_is_quiet_at_once() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as idle:
        started = time.monotonic()
        measure.wait_until_quiet(idle.pid, longest=30)
        assert time.monotonic() - started < 20
        idle.communicate(b"\n")
