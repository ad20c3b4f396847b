"""The screen of `pelton top`."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pelton.commands.shared.duration import duration
from pelton.commands.top.figures import Totals, WorkerFigures
from pelton.pipeline.outside_text import shown

_STATES = {"ready": "green", "starting": "yellow", "draining": "yellow", "gone": "red", "no Kafka": "red"}
_LOAD = (
    "parti-\ntions", "backlog", "time", "inter-\nactive", "batch", "ses-\nsions",
    "answers\n/s", "tokens\n/s", "failed\n/s",
)  # fmt: skip
_ENGINE = (
    "running", "rows", "fill", "step\nms", "KV\npages", "prefix\nhits", "cached", "memory", "GPU", "GPU\nmemory",
)  # fmt: skip
_MIB, _GIB = 1024**2, 1024**3
TABLE_WIDTH = 100
"""Columns that the tables need so that no figure is cut."""
MAX_NAME_CHARS = 40
"""What comes from another machine is shown so that nothing in it acts on a terminal, and not at length."""


def screen(workers: Sequence[WorkerFigures], totals: Totals, interval_s: float) -> RenderableType:
    """All that there is to see; as wide as the terminal."""
    parts: list[RenderableType] = [_summary(totals, len(workers)), _Workers(workers)]
    if troubles := [worker for worker in workers if worker.error]:
        parts.append(_troubles(troubles))
    parts.append(Text(f"rates over {interval_s:g} s; Ctrl-C ends it", style="dim"))
    return Group(*parts)


class _Workers:
    """Tables where there is room for them, else some lines a worker: no figure is cut."""

    def __init__(self, workers: Sequence[WorkerFigures]) -> None:
        self._workers = workers

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        if options.max_width >= TABLE_WIDTH:
            yield _load(self._workers)
            yield _engine(self._workers)
        else:
            yield from map(_block, self._workers)


def _summary(totals: Totals, known: int) -> Panel:
    waiting = totals.waiting + totals.waiting_sessions + totals.waiting_quotas
    line = Text.assemble(
        (f"{totals.ready}", "bold green" if totals.ready == known else "bold yellow"), f" of {known} workers ready   ",
        "backlog ", (f"{totals.backlog:,.0f}", "bold"), f" ({_time(totals.backlog_s)})   ",
        "waiting ", (f"{waiting:,.0f}", "bold"), "   running ", (f"{totals.running:,.0f}", "bold"), "   ",
        (f"{totals.answered_per_s:,.1f}", "bold"), " answers/s   ",
        (f"{totals.tokens_per_s:,.0f}", "bold"), " tokens/s   ",
        (f"{totals.failed_per_s:,.1f}", "bold red" if totals.failed_per_s else "bold"), " failed/s",
    )  # fmt: skip
    return Panel(line, title="pelton", title_align="left", box=box.ROUNDED)


def _load(workers: Sequence[WorkerFigures]) -> Table:
    """What waits, and how it goes."""
    table = _table("worker", "state", *_LOAD)
    for worker in workers:
        lanes = worker.lanes or {}
        state = _state(worker)
        table.add_row(
            _place(worker), Text(state, _STATES.get(state, "")),
            *([] if worker.error else [
                f"{worker.partitions:,.0f}", f"{worker.backlog:,.0f}", _time(worker.backlog_s),
                f"{lanes.get('interactive', 0):,.0f}", f"{lanes.get('batch', 0):,.0f}",
                f"{worker.waiting_sessions:,.0f}", _number(worker.answered_per_s, ",.1f"),
                _number(worker.tokens_per_s, ",.0f"), _number(worker.failed_per_s, ",.1f"),
            ]),
        )  # fmt: skip
    return table


def _engine(workers: Sequence[WorkerFigures]) -> Table:
    """What it runs on."""
    table = _table("worker", "model", *_ENGINE)
    for worker in workers:
        if worker.error:
            continue
        table.add_row(
            _place(worker), shown(worker.model, MAX_NAME_CHARS), f"{worker.running:,.0f}",
            _number(worker.rows, ".1f"), _number(worker.fill, ".0%"), _number(worker.step_ms, ",.1f"),
            _number(worker.kv_share, ".0%"), _number(worker.prefix_hits, ".0%"), _number(worker.cached_share, ".0%"),
            _memory(worker.memory_bytes), _number(worker.gpu_share, ".0%"), _memory(worker.gpu_bytes),
        )  # fmt: skip
    return table


def _block(worker: WorkerFigures) -> Group:
    """The same in words, as narrow as the terminal."""
    state = _state(worker)
    head = Text.assemble(_place(worker), "  ", (state, _STATES.get(state, "")))
    if worker.error:
        return Group(head)
    lanes = worker.lanes or {}
    line = f"waiting {lanes.get('interactive', 0):,.0f} interactive, {lanes.get('batch', 0):,.0f} batch"
    rates = f"{_number(worker.answered_per_s, ',.1f')} answers/s, {_number(worker.tokens_per_s, ',.0f')} tokens/s"
    rows = f"running {worker.running:,.0f}, rows {_number(worker.rows, '.1f')}, fill {_number(worker.fill, '.0%')}"
    known = f"prefix hits {_number(worker.prefix_hits, '.0%')}, cached {_number(worker.cached_share, '.0%')}"
    gpu = f"GPU {_number(worker.gpu_share, '.0%')} {_memory(worker.gpu_bytes)}"
    lines = (
        f"backlog {worker.backlog:,.0f} ({_time(worker.backlog_s)}), {worker.partitions:,.0f} partitions",
        f"{line}, {worker.waiting_sessions:,.0f} sessions",
        f"{rates}, {_number(worker.failed_per_s, ',.1f')} failed/s",
        f"{rows}, step {_number(worker.step_ms, ',.1f')} ms, KV pages {_number(worker.kv_share, '.0%')}",
        f"{known}, memory {_memory(worker.memory_bytes)}, {gpu}",
    )
    head.append(f"  {shown(worker.model, MAX_NAME_CHARS)}")
    return Group(head, *(Padding(Text(line), (0, 0, 0, 2)) for line in lines))


def _table(name: str, word: str, *figures: str) -> Table:
    """The word gives way where the terminal is narrow."""
    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False, collapse_padding=True)
    table.add_column(name, no_wrap=True)
    table.add_column(word, ratio=1, no_wrap=True, min_width=8)
    for figure in figures:
        table.add_column(figure, justify="right", no_wrap=True)
    return table


def _troubles(workers: Sequence[WorkerFigures]) -> Table:
    table = Table.grid(padding=(0, 2))
    for worker in workers:
        table.add_row(Text(worker.url, "red"), Text(shown(worker.error)))
    return table


def _state(worker: WorkerFigures) -> str:
    return "no Kafka" if worker.kafka_away else worker.state


def _place(worker: WorkerFigures) -> str:
    return worker.url.partition("://")[2]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _memory(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value / _GIB:.1f} GiB" if value >= _GIB else f"{value / _MIB:.0f} MiB"


def _time(seconds: float | None) -> str:
    return "unknown" if seconds is None else duration(seconds)
