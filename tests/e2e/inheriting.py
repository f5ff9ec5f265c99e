"""Become another program, with listening sockets that it inherits: so it can have ports that the kernel has chosen.

    python inheriting.py CONFIGURATION COUNT PROGRAM ARGUMENTS…

In the configuration PORT0, PORT1 … become the ports, and FD0, FD1 … the descriptors; the ports are printed. HAProxy
takes `bind fd@FD0`; nginx knows a socket by its address, from the variable that it hands its own sockets on with.
"""

import os
import socket
import sys
from pathlib import Path


def main(file: str, count: str, *command: str) -> None:
    text = Path(file).read_text()
    descriptors = []
    for place in range(int(count)):
        listening = socket.create_server(("127.0.0.1", 0))
        os.set_inheritable(listening.fileno(), True)
        port, descriptor = listening.getsockname()[1], listening.detach()
        descriptors.append(descriptor)
        text = text.replace(f"PORT{place}", str(port)).replace(f"FD{place}", str(descriptor))
        print(f"port {port}", flush=True)
    Path(file).write_text(text)
    os.environ["NGINX"] = "".join(f"{descriptor};" for descriptor in descriptors)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
