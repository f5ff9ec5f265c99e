"""What is done through a proxy, and what of it is kept. Knows no proxy by name and prints nothing."""

import contextlib
import time
from collections.abc import Callable, Iterator

import attrs

from bench import measure, programs
from bench.kinds import L4, MLKEM, PLAIN, RESUMED, TLS, Variant
from bench.programs import Done, Echo, Load
from bench.proxies import Running
from bench.running import Failed

Values = dict[str, float]
"""By name: rate (units/s), p50 and p99 (µs), cpu (µs a unit; bulk: s a GB), memory (bytes a tunnel), load (%)."""

ACTIVE, BULK = 64, 4
CONNECTING = 8
"""Connects in flight at any time. Their number is fixed and the same for every proxy: each leaves the proxy a port that
the kernel gives out again only after a second, and the fewer are left the longer the kernel searches."""
PACE, ARRIVING = 2_000, 200
"""A second: messages whose latency is looked at, and connects meanwhile."""


@attrs.frozen
class Scale:
    """How much of everything. Times in seconds."""

    measured: float
    warm_up: float
    arrivals: float
    connects: int
    idle: int
    """Tunnels opened for the memory of one."""
    crowd: tuple[int, ...]
    """Tunnels open while 64 of them are active."""


FULL = Scale(measured=2.0, warm_up=0.5, arrivals=5.0, connects=4_000, idle=2_000, crowd=(64, 1_000, 3_000, 9_000))
QUICK = Scale(measured=0.3, warm_up=0.1, arrivals=0.6, connects=800, idle=500, crowd=(64, 1_000))


@attrs.frozen
class Setting:
    """A running proxy between the load and the upstream."""

    proxy: Running
    echo: Echo
    core: int
    """The core of load and upstream."""

    @contextlib.contextmanager
    def load(self, variant: Variant, niceness: int = 0) -> Iterator[Load]:
        """A load generator towards this proxy."""
        with programs.load(self.proxy.ports[variant.kind], variant, self.core, niceness) as load:
            yield load

    def cpu(self) -> float:
        """Seconds of CPU that the proxy has used; call it when the proxy is quiet."""
        return 0.0 if self.proxy.pid is None else measure.cpu_seconds(self.proxy.pid)

    def settle(self) -> None:
        """Wait until the proxy has done what it still had to do."""
        if self.proxy.pid is not None:
            measure.wait_until_quiet(self.proxy.pid)

    def timed(self, load: Load, command: str) -> tuple[Done, Values]:
        """One command of the load, and what it cost each of the three."""
        self.settle()
        before, ends_before = self.cpu(), measure.cpu_seconds(load.pid) + measure.cpu_seconds(self.echo.pid)
        done = load.ask(command)
        ends = measure.cpu_seconds(load.pid) + measure.cpu_seconds(self.echo.pid) - ends_before
        self.settle()  # ends of connections that the load does not wait for
        if done.units == 0:
            raise Failed("not one unit came back")
        values = {
            "rate": done.units / done.seconds,
            "p50": done.p50_us,
            "p99": done.p99_us,
            "load": 100 * ends / done.seconds,
        }
        if self.proxy.pid is not None:
            values["cpu"] = (self.cpu() - before) / done.units * 1e6
        return done, values


def echo(setting: Setting, variant: Variant, scale: Scale, active: int) -> Values:
    """Messages of 128 bytes, one in flight in each tunnel."""
    with setting.load(variant) as load:
        load.ask(f"open {active}")
        load.ask(f"echo {scale.warm_up} {active} 0")
        return setting.timed(load, f"echo {scale.measured} {active} 0")[1]


def small(setting: Setting, variant: Variant, scale: Scale) -> Values:
    """64 tunnels, as fast as it goes."""
    return echo(setting, variant, scale, ACTIVE)


def lone(setting: Setting, variant: Variant, scale: Scale) -> Values:
    """One tunnel: latency, and the CPU of a message that nothing is shared with."""
    return echo(setting, variant, scale, 1)


def bulk(setting: Setting, variant: Variant, scale: Scale) -> Values:
    """Streams, echoed; the unit is a byte that has gone there and back."""
    with setting.load(variant) as load:
        load.ask(f"open {BULK}")
        load.ask(f"stream {scale.warm_up} {BULK}")
        values = setting.timed(load, f"stream {scale.measured} {BULK}")[1]
    return {name: value for name, value in values.items() if name not in ("p50", "p99")} | {
        "rate": values["rate"] / 1e6,  # MB a second
        **({"cpu": values["cpu"] * 1e3} if "cpu" in values else {}),  # µs a byte are 1,000 s a GB
    }


def connect(setting: Setting, variant: Variant, scale: Scale) -> Values:
    """Connect, upgrade, one message, close; eight at a time."""
    how = "resumed" if variant.resumed else "full"
    with setting.load(variant) as load:
        load.ask(f"connect {scale.connects // 8} {CONNECTING} 0 {how}")
        done, values = setting.timed(load, f"connect {scale.connects} {CONNECTING} 0 {how}")
    if done.resumed < 0.99 * done.units * variant.resumed:
        raise Failed(f"only {done.resumed} of {done.units} connections were resumed")
    return values


def idle(setting: Setting, variant: Variant, scale: Scale) -> Values:
    """Memory of a tunnel that has passed one message: the proxy's growth, divided."""
    if setting.proxy.pid is None:
        return {}
    with setting.load(variant) as load:
        load.ask(f"open {ACTIVE}")  # what the first of all bring with them is not a tunnel's
        setting.settle()
        before = measure.pss_bytes(setting.proxy.pid)
        load.ask(f"open {ACTIVE + scale.idle}")
        setting.settle()
        time.sleep(scale.warm_up)
        return {"memory": (measure.pss_bytes(setting.proxy.pid) - before) / scale.idle}


def crowd(setting: Setting, variant: Variant, scale: Scale) -> Values:
    """CPU a message through 64 tunnels, by how many stand open."""
    values: Values = {}
    with setting.load(variant) as load:
        for count in scale.crowd:
            load.ask(f"open {count}")
            load.ask(f"echo {scale.warm_up} {ACTIVE} 0")
            found = setting.timed(load, f"echo {scale.measured} {ACTIVE} 0")[1]
            if "cpu" in found:
                values[f"cpu_{count}"] = found["cpu"]
        load.ask("close")
    setting.settle()
    if values:
        values["growth"] = values[f"cpu_{scale.crowd[-1]}"] / values[f"cpu_{scale.crowd[0]}"]
    return values


def arrivals(setting: Setting, variant: Variant, scale: Scale) -> Values:
    """Latency of messages at a fixed rate, while connects arrive at a fixed rate."""
    margin = 0.2
    with setting.load(variant) as load, setting.load(variant, niceness=10) as arriving:
        load.ask(f"open {ACTIVE}")
        load.ask(f"echo {scale.warm_up} {ACTIVE} {PACE}")
        setting.settle()
        arriving.begin(f"connect {round((scale.arrivals + 2 * margin) * ARRIVING)} {ACTIVE} {ARRIVING} full")
        time.sleep(margin)
        done = load.ask(f"echo {scale.arrivals} {ACTIVE} {PACE}")
        connects = arriving.finish()
    setting.settle()
    return {
        "rate": done.units / done.seconds,
        "p50": done.p50_us,
        "p99": done.p99_us,
        "connects": connects.units / connects.seconds,
    }


@attrs.frozen
class Workload:
    """One section of the table."""

    name: str
    title: str
    unit: str
    """What `cpu` and `rate` are by."""
    key: str
    """The figure whose ratio to the other proxies is given."""
    run: Callable[[Setting, Variant, Scale], Values]
    variants: tuple[Variant, ...] = (PLAIN, TLS, L4)
    fresh: bool = False
    """Whether the proxy must not have done anything before."""


WORKLOADS = (
    Workload("small", "64 tunnels, a message of 128 bytes in flight in each", "message", "cpu", small),
    Workload("lone", "1 tunnel, one message in flight", "message", "p50", lone),
    Workload("bulk", "4 tunnels, streams echoed", "GB", "cpu", bulk),
    Workload(
        "connect",
        "connect, upgrade, one message, close; 8 at a time",
        "connect",
        "cpu",
        connect,
        (PLAIN, TLS, RESUMED, L4),
    ),
    Workload(
        "arrivals", f"{PACE:,} messages a second, while {ARRIVING} connects a second arrive", "message", "p99", arrivals
    ),
    Workload("idle", "memory of an open tunnel", "tunnel", "memory", idle, (PLAIN, TLS, MLKEM, L4), fresh=True),
    Workload("crowd", "64 active tunnels among many open ones", "message", "growth", crowd),
)
