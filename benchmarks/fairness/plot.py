"""How long they waited, as a page with a figure: the part of the requests that had waited so long or less."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

WIDTH, HEIGHT, EDGE = 760, 420, 50
COLOURS = ("#1f6feb", "#d29922", "#8250df", "#1a7f37", "#8b949e", "#cf222e")
SHORTEST_S = 0.01

Scale = Callable[[float], float]


def write(path: Path, title: str, curves: Mapping[str, Sequence[float]]) -> None:
    """`curves` has the sorted waits, in seconds, by name."""
    longest = max((waits[-1] for waits in curves.values() if waits), default=1.0)
    decades = max(1.0, math.log10(max(longest, 10 * SHORTEST_S) / SHORTEST_S))

    def x(seconds: float) -> float:
        return EDGE + (WIDTH - 2 * EDGE) * math.log10(max(seconds, SHORTEST_S) / SHORTEST_S) / decades

    def y(part: float) -> float:
        return HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * part

    parts = [_grid(x, decades), *(_percent(y, part) for part in (0.0, 0.25, 0.5, 0.75, 1.0))]
    for index, ((name, waits), colour) in enumerate(zip(curves.items(), COLOURS, strict=False)):
        points = [(x(wait), y((place + 1) / len(waits))) for place, wait in enumerate(waits)]
        line = " ".join(f"{at:.1f},{up:.1f}" for at, up in points[:: max(1, len(points) // 300)])
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{EDGE + 10}" y="{EDGE + 16 * index}" fill="{colour}">{name}</text>')
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">{"".join(parts)}</svg>'
    path.write_text(f"<!doctype html><meta charset=utf-8><title>{title}</title><h1>{title}</h1>{svg}")


def _grid(x: Scale, decades: float) -> str:
    """A line for each power of ten."""
    lines = []
    for power in range(math.ceil(decades) + 1):
        seconds = SHORTEST_S * 10**power
        lines.append(
            f'<line x1="{x(seconds):.1f}" x2="{x(seconds):.1f}" y1="{EDGE}" y2="{HEIGHT - EDGE}" stroke="#ddd"/>'
        )
        lines.append(f'<text x="{x(seconds):.1f}" y="{HEIGHT - EDGE + 16}" text-anchor="middle">{seconds:g} s</text>')
    return "".join(lines)


def _percent(y: Scale, part: float) -> str:
    return f'<text x="{EDGE - 6}" y="{y(part):.1f}" text-anchor="end">{part:.0%}</text>'
