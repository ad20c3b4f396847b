"""Plots as SVG, to be written into a page."""

import io
import re
from collections.abc import Mapping, Sequence

from benchmarks.reporting.page import Figure

Line = tuple[Sequence[float], Sequence[float]]
"""The points of a line, x and y."""
_INCHES = (8.0, 3.2)
_PROLOGUE = re.compile(r"^.*?(?=<svg)", re.DOTALL)


def lines(  # noqa: PLR0913  # what a plot is, and ways to show it by name
    title: str,
    x: str,
    y: str,
    found: Mapping[str, Line],
    *,
    marks: bool = False,
    log_x: bool = False,
    until: float | None = None,
) -> Figure:
    """One plot of all lines, `x` and `y` naming the axes with their units; `marks` shows the points themselves. `log_x`
    is for values of several orders of magnitude. Plots from 0 to the same `until` can be read below each other.

    Without matplotlib, which the extra `bench` has, the figure says so in place of a plot.
    """
    try:
        from matplotlib.figure import Figure as Canvas  # noqa: PLC0415  # of an extra
    except ImportError:
        return Figure(title, "", "No plot: pip install 'pelton[bench]'.")
    canvas = Canvas(figsize=_INCHES, layout="constrained")
    axes = canvas.subplots()
    for name, (across, up) in found.items():
        axes.plot(across, up, label=name, marker="o" if marks else None, linewidth=1.4)
    axes.set(xlabel=x, ylabel=y, title=title)
    axes.set_ylim(bottom=0)
    if until is not None:
        axes.set_xlim(0, until)
    if log_x:
        axes.set_xscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,g}")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize="small", frameon=False)
    drawn = io.StringIO()
    canvas.savefig(drawn, format="svg", metadata={"Date": None})
    return Figure(title, _PROLOGUE.sub("", drawn.getvalue(), count=1))
