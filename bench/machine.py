"""What the figures were measured on, without naming the machine."""

import os
import platform
import re
from pathlib import Path

from bench import proxies
from bench.running import cores


def described() -> dict[str, str]:
    """Processor, memory, kernel, system, and what load and relay are built on."""
    proxy_core, load_core = cores()
    system = Path("/etc/os-release").read_text() if Path("/etc/os-release").exists() else ""
    kernel = re.match(r"\d+(\.\d+)*", platform.release())
    lscpu = proxies.printed("lscpu", environment={**os.environ, "LC_ALL": "C"})
    memory = proxies.first(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    virtual = proxies.first(r"^Hypervisor vendor:\s+(.+)", lscpu)
    return {
        "processor": " ".join(proxies.first(r"^Model name:\s+(.+)", lscpu).split())
        + f", {os.cpu_count()} cores"
        + ("" if virtual == "?" else f", virtual machine ({virtual})"),
        "memory": f"{int(memory) / 2**20:.0f} GiB",
        "kernel": f"Linux {kernel.group() if kernel else platform.release()}",
        "system": proxies.first(r'^PRETTY_NAME="?([^"\n]+)', system),
        "python": platform.python_version(),
        "openssl": proxies.first(r"^OpenSSL (\S+)", proxies.printed("openssl", "version")),
        "cores": (
            f"proxy on core {proxy_core}, load and upstream on core {load_core}"
            if load_core != proxy_core
            else "only one core: proxy, load and upstream share it, so rates and latencies say little"
        ),
    }
