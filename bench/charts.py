"""Two charts as SVG, drawn by hand: no library, no script. Their background suits light and dark pages."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from xml.sax.saxutils import escape

import attrs

from bench.results import Results

COLOURS = {
    "wsrelay-native": "#d6336c",
    "wsrelay-reactor": "#f59f00",
    "nginx": "#2b8a3e",
    "haproxy": "#1971c2",
    "caddy": "#7048e8",
}
WIDTH, HEIGHT = 960, 440
TOP, BOTTOM, LEFT, RIGHT = 118, 66, 64, 24
VARIANTS = {"plain": "plain", "TLS": "TLS", "L4": "layer 4"}


@attrs.define
class Drawing:
    """Elements in the order in which they are painted."""

    parts: list[str] = attrs.field(factory=list)

    def text(self, x: float, y: float, words: str, look: str = "", anchor: str = "start") -> None:
        """Words at a baseline."""
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {look}>{escape(words)}</text>')

    def line(self, points: Iterable[tuple[float, float]], colour: str, width: float) -> None:
        """A line through points."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>')

    def box(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        """A filled rectangle."""
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="2" fill="{colour}"/>'
        )

    def dot(self, x: float, y: float, colour: str) -> None:
        """A point of a line."""
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>')

    def finish(self, title: str) -> str:
        """The whole document."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
            f'role="img" font-family="system-ui, sans-serif" font-size="13" fill="#343a40">'
        )
        ground = f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#fdfdfc" stroke="#dee2e6"/>'
        return "\n".join([head, f"<title>{escape(title)}</title>", ground, *self.parts, "</svg>"]) + "\n"


def ceiling(value: float) -> tuple[float, float]:
    """A round end for an axis that must hold a value, and its step: four to eight steps of 1, 2 or 5."""
    step = 10 ** math.floor(math.log10(value / 4)) if value > 0 else 1.0
    step *= next(factor for factor in (1, 2, 5, 10) if value / (step * factor) <= 8)
    return math.ceil(value / step) * step, step


def frame(drawing: Drawing, results: Results, title: str, proxies: Sequence[str], top: float, step: float) -> None:
    """Title, command, legend, and the lines of the y axis, which all panels share."""
    drawing.text(24, 34, title, 'font-size="19" font-weight="600"')
    rounds = results.rounds()
    subtitle = f"{results.command}; median of {rounds} round{'s' * (rounds != 1)}, proxy on one core, lower is better"
    drawing.text(24, 56, subtitle, 'fill="#5c636a"')
    x = 24.0
    for proxy in proxies:
        drawing.box(x, 74, 14, 14, COLOURS[proxy])
        drawing.text(x + 20, 86, proxy)
        x += 46 + 7.4 * len(proxy)
    for number in range(round(top / step) + 1):
        y = height_of(number * step, top)
        drawing.line([(LEFT, y), (WIDTH - RIGHT, y)], "#e3e6e9" if number else "#868e96", 1)
        drawing.text(LEFT - 8, y + 4, f"{number * step:g}", anchor="end")
    middle = (TOP + HEIGHT - BOTTOM) / 2
    drawing.text(20, middle, "µs of CPU a message", f'transform="rotate(-90 20 {middle})"', "middle")


def height_of(value: float, top: float) -> float:
    """Where a value lies on the y axis."""
    return HEIGHT - BOTTOM - value / top * (HEIGHT - BOTTOM - TOP)


def panels(names: Sequence[str]) -> list[tuple[str, float, float]]:
    """Each variant with the left edge and the width of its part of the drawing."""
    width = (WIDTH - RIGHT - LEFT) / len(names)
    return [(name, LEFT + index * width, width) for index, name in enumerate(names)]


def by_tunnels(results: Results) -> str | None:
    """CPU a message by tunnels open: a panel for each variant, a line for each proxy. None without figures."""
    counts = [int(count) for count in results.scale["crowd"]]
    lines = {
        (variant, proxy): [results.median("crowd", variant, proxy, f"cpu_{count}") for count in counts]
        for variant in results.variants("crowd")
        for proxy in COLOURS
    }
    known = {names: [value for value in line if value is not None] for names, line in lines.items()}
    known = {names: line for names, line in known.items() if len(line) == len(counts)}
    if not known or len(counts) < 2:
        return None
    top, step = ceiling(max(max(line) for line in known.values()))
    proxies = [proxy for proxy in COLOURS if any(names[1] == proxy for names in known)]
    drawing, title = Drawing(), "CPU a message by the number of open tunnels"
    frame(drawing, results, title, proxies, top, step)
    span = math.log(counts[-1] / counts[0])
    for variant, left, width in panels([name for name in VARIANTS if any(names[0] == name for names in known)]):
        places = [left + 34 + math.log(count / counts[0]) / span * (width - 68) for count in counts]
        drawing.text(left + width / 2, TOP - 8, VARIANTS[variant], 'font-weight="600"', "middle")
        for place, count in zip(places, counts, strict=True):
            drawing.line([(place, HEIGHT - BOTTOM), (place, HEIGHT - BOTTOM + 5)], "#868e96", 1)
            drawing.text(place, HEIGHT - BOTTOM + 20, f"{count:,}", anchor="middle")
        for proxy in reversed(proxies):
            if (variant, proxy) in known:
                points = [(x, height_of(y, top)) for x, y in zip(places, known[variant, proxy], strict=True)]
                drawing.line(points, COLOURS[proxy], 2.5)
                for point in points:
                    drawing.dot(*point, COLOURS[proxy])
    drawing.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 18, "tunnels open (64 of them active; logarithmic)", "", "middle")
    return drawing.finish(title)


def by_proxy(results: Results) -> str | None:
    """CPU a message by proxy: a group of bars for each variant. None without figures."""
    bars = {
        (variant, proxy): value
        for variant in results.variants("small")
        for proxy in COLOURS
        if (value := results.median("small", variant, proxy, "cpu")) is not None
    }
    if not bars:
        return None
    top, step = ceiling(max(bars.values()))
    proxies = [proxy for proxy in COLOURS if any(names[1] == proxy for names in bars)]
    drawing, title = Drawing(), "CPU a message of 128 bytes, 64 tunnels"
    frame(drawing, results, title, proxies, top, step)
    for variant, left, width in panels([name for name in VARIANTS if any(names[0] == name for names in bars)]):
        group = [proxy for proxy in proxies if (variant, proxy) in bars]
        slot = (width - 36) / max(len(group), 5)
        start = left + (width - slot * len(group)) / 2
        for index, proxy in enumerate(group):
            value = bars[variant, proxy]
            x, y = start + index * slot, height_of(value, top)
            drawing.box(x + 4, y, slot - 8, HEIGHT - BOTTOM - y, COLOURS[proxy])
            drawing.text(x + slot / 2, y - 6, f"{value:.1f}", 'font-size="12"', "middle")
        drawing.text(left + width / 2, HEIGHT - BOTTOM + 22, VARIANTS[variant], 'font-weight="600"', "middle")
    drawing.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 18, "how the client's leg is carried", "", "middle")
    return drawing.finish(title)


Chart = Callable[[Results], str | None]
CHARTS: Mapping[str, Chart] = {"cpu-by-tunnels.svg": by_tunnels, "cpu-by-proxy.svg": by_proxy}
