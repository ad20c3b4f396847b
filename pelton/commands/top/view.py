"""The screen of `pelton top`."""

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pelton.commands.top.figures import Totals, WorkerFigures
from pelton.pipeline.outside_text import shown

_STATES = {"ready": "green", "starting": "yellow", "draining": "yellow", "gone": "red"}
_LOAD = ("partitions", "backlog", "time", "interactive", "batch", "sessions", "answers/s", "tokens/s", "failed/s")
_ENGINE = (
    "running", "rows", "fill", "step ms", "KV pages", "prefix hits", "cached", "memory", "GPU", "GPU memory",
)  # fmt: skip
_GIB = 1024**3
_HOUR_S, _MINUTE_S = 3600, 60
MAX_NAME_CHARS = 40


def screen(workers: Sequence[WorkerFigures], totals: Totals, interval_s: float) -> RenderableType:
    """All that there is to see; as wide as the terminal."""
    parts: list[RenderableType] = [_summary(totals, len(workers)), _load(workers), _engine(workers)]
    if troubles := [worker for worker in workers if worker.error]:
        parts.append(_troubles(troubles))
    parts.append(Text(f"rates over {interval_s:g} s; Ctrl-C ends it", style="dim"))
    return Group(*parts)


def _summary(totals: Totals, known: int) -> Panel:
    line = Text.assemble(
        (f"{totals.ready}", "bold green" if totals.ready == known else "bold yellow"), f" of {known} workers ready   ",
        "backlog ", (f"{totals.backlog:,.0f}", "bold"), f" ({_time(totals.backlog_s)})   ",
        "waiting ", (f"{totals.waiting:,.0f}", "bold"), "   running ", (f"{totals.running:,.0f}", "bold"), "   ",
        (f"{totals.answered_per_s:,.1f}", "bold"), " answers/s   ",
        (f"{totals.tokens_per_s:,.0f}", "bold"), " tokens/s   ",
        (f"{totals.failed_per_s:,.1f}", "bold red" if totals.failed_per_s else "bold"), " failed/s",
    )  # fmt: skip
    return Panel(line, title="pelton", title_align="left", box=box.ROUNDED)


def _load(workers: Sequence[WorkerFigures]) -> Table:
    """What waits, and how it goes."""
    table = Table(box=box.SIMPLE_HEAD, expand=True)
    table.add_column("worker", ratio=1, no_wrap=True)
    table.add_column("state", no_wrap=True)
    for name in _LOAD:
        table.add_column(name, justify="right", no_wrap=True)
    for worker in workers:
        lanes = worker.lanes or {}
        table.add_row(
            _name(worker), Text(worker.state, _STATES.get(worker.state, "")),
            *([""] * len(_LOAD) if worker.error else [
                f"{worker.partitions:,.0f}", f"{worker.backlog:,.0f}", _time(worker.backlog_s),
                f"{lanes.get('interactive', 0):,.0f}", f"{lanes.get('batch', 0):,.0f}",
                f"{worker.waiting_sessions:,.0f}", _number(worker.answered_per_s, ",.1f"),
                _number(worker.tokens_per_s, ",.0f"), _number(worker.failed_per_s, ",.1f"),
            ]),
        )  # fmt: skip
    return table


def _engine(workers: Sequence[WorkerFigures]) -> Table:
    """What it runs on."""
    table = Table(box=box.SIMPLE_HEAD, expand=True)
    table.add_column("worker", ratio=1, no_wrap=True)
    for name in _ENGINE:
        table.add_column(name, justify="right", no_wrap=True)
    for worker in workers:
        if worker.error:
            continue
        table.add_row(
            _name(worker), f"{worker.running:,.0f}", _number(worker.rows, ".1f"), _number(worker.fill, ".0%"),
            _number(worker.step_ms, ",.1f"), _number(worker.kv_share, ".0%"), _number(worker.prefix_hits, ".0%"),
            _number(worker.cached_share, ".0%"), _gib(worker.memory_bytes), _number(worker.gpu_share, ".0%"),
            _gib(worker.gpu_bytes),
        )  # fmt: skip
    return table


def _troubles(workers: Sequence[WorkerFigures]) -> Table:
    table = Table.grid(padding=(0, 2))
    for worker in workers:
        table.add_row(Text(worker.url, "red"), Text(shown(worker.error)))
    return table


def _name(worker: WorkerFigures) -> str:
    """What comes from another machine is shown so that nothing in it acts on a terminal."""
    place = worker.url.partition("://")[2]
    return f"{place} {shown(worker.model, MAX_NAME_CHARS)}" if worker.model else place


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _gib(value: float | None) -> str:
    return "-" if value is None else f"{value / _GIB:.1f} GiB"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    if seconds >= _HOUR_S:
        return f"{seconds / _HOUR_S:.1f} h"
    return f"{seconds / _MINUTE_S:.0f} min" if seconds >= 2 * _MINUTE_S else f"{seconds:.0f} s"
