"""Lines over time as a stand-alone SVG, without a plotting library."""

from collections.abc import Mapping, Sequence
from html import escape

Points = Sequence[tuple[float, float]]
WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 860, 300, 70, 40, 34, 16
COLOURS = ("#1f6feb", "#d1242f", "#2da44e", "#8250df")
TICKS = 5


def line_chart(title: str, x: str, y: str, lines: Mapping[str, Points]) -> str:
    """One chart; both axes begin at 0."""
    across = max((point[0] for points in lines.values() for point in points), default=0) or 1
    up = max((point[1] for points in lines.values() for point in points), default=0) or 1

    def place(point: tuple[float, float]) -> str:
        return f"{_x(point[0] / across):.1f},{_y(point[1] / up):.1f}"

    parts = [f'<text x="{LEFT}" y="16" font-weight="bold">{escape(title)}</text>', *_axes(across, up, x, y)]
    for number, (name, points) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(map(place, points))
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.6" points="{path}"/>')
        parts.append(f'<text x="{LEFT + 8 + 200 * number}" y="{TOP}" fill="{colour}">{escape(name)}</text>')
    body = "".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" '
        f'font-size="12"><rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>{body}</svg>'
    )


def _axes(across: float, up: float, x: str, y: str) -> list[str]:
    parts = [
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">{escape(x)}</text>',
        f'<text transform="rotate(-90) translate({-HEIGHT / 2} 14)" text-anchor="middle">{escape(y)}</text>',
    ]
    for tick in range(TICKS + 1):
        share = tick / TICKS
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{_y(share):.1f}" y2="{_y(share):.1f}" stroke="#ddd"/>'
            f'<text x="{LEFT - 6}" y="{_y(share) + 4:.1f}" text-anchor="end">{up * share:,.0f}</text>'
            f'<text x="{_x(share):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{across * share:,.0f}</text>'
        )
    return parts


def _x(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP - 8)
