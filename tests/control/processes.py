"""How the service is started as a process, and what it is started with."""

from collections.abc import Callable, Sequence

from tests.running import TWIST, TWISTD, Running

FOREGROUND = [*TWISTD, "-n", "--pidfile="]
RUNNERS = {"twistd -n": FOREGROUND, "twist": [*TWIST, "--log-format=text"]}

CONFIG = """
[relay]
access_log = "off"
[timeouts]
TIMEOUTS
[[listen]]
address = "127.0.0.1:0"
[[upstream]]
name = "app"
servers = ["UPSTREAM"]
[[route]]
path = "/"
upstream = "app"
[[route]]
path = "/own"
respond = { body = "here" }
"""

Run = Callable[[Sequence[str]], Running]
Config = Callable[..., str]
