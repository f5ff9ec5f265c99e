"""A run with round numbers, for the tests of what shows them."""

from bench.results import Results, Sample


def a_run() -> Results:
    """Two proxies and the relay; three rounds of `small`, one of `crowd`, `connect` and `idle`."""
    results = Results(
        command="python -m bench --rounds 3",
        machine={
            "processor": "a processor", "memory": "8 GiB", "kernel": "Linux 6", "system": "a system",
            "python": "3.11", "openssl": "3.0", "cores": "proxy on core 0, load and upstream on core 1",
        },
        proxies={"wsrelay-native": "0.1", "nginx": "1.22", "haproxy": "2.6"},
        scale={"crowd": [64, 1000]},
        notes=["caddy: skipped, not installed"],
    )  # fmt: skip
    cpu = {"wsrelay-native": (9.0, 30.0, 8.0), "nginx": (10.0, 12.0, 11.0), "haproxy": (20.0, 20.0, 20.0)}
    for proxy, rounds in cpu.items():
        for number, value in enumerate(rounds):
            values = {"rate": 1e6 / value, "p50": value, "p99": 2 * value, "cpu": value, "load": 50.0}
            results.samples.append(Sample("small", "TLS", proxy, number, values))
        crowd = {"cpu_64": 10.0, "cpu_1000": 12.4, "growth": 1.24}
        results.samples.append(Sample("crowd", "plain", proxy, 0, crowd))
        results.samples.append(Sample("connect", "plain", proxy, 0, {"cpu": 1000.0 if "native" in proxy else 100.0}))
        results.samples.append(Sample("idle", "plain", proxy, 0, {"memory": 4400.0}))
    return results
