"""`pelton top`: workers as they run."""

import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.live import Live

from pelton.commands.common import Exit, clear_errors, fail, say
from pelton.commands.top.figures import WorkerFigures, figures, totals
from pelton.commands.top.scraping import USUAL_PORTS, base_url, found_here, scrape
from pelton.commands.top.view import screen

WIDTH_IN_A_FILE = 160

Urls = Annotated[
    list[str] | None,
    typer.Option("--url", metavar="URL", help="A worker's metrics port, as host:port; repeat it for more workers."),
]


def top(
    url: Urls = None,
    interval: Annotated[float, typer.Option(min=0.2, help="Seconds between looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", metavar="", help="Look twice, print it, and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="As --once, in JSON.")] = False,
) -> None:
    """Watch workers: lanes, batches, caches, backlog.

    Reads the metrics ports of workers, by default those that run on this
    machine on ports from 9400 on. Workers on other machines need
    worker.metrics_host, and a --url each.

    Exit codes: 0 shown; 1 with --once or --json, no worker answers; 2 bad
    arguments, or no worker is found; 130 interrupted.
    """
    with clear_errors(interrupted="Stopped."):
        urls = _urls(url)
        looks = _looks(urls, interval)
        next(looks)
        if once or as_json:
            workers = next(looks)
            _print(workers, interval, as_json=as_json)
            if all(worker.error for worker in workers):
                raise typer.Exit(Exit.FAILED)
            return
        with Live(screen=True, auto_refresh=False) as live:
            for workers in looks:
                live.update(screen(workers, totals(workers), interval), refresh=True)


def _urls(given: list[str] | None) -> list[str]:
    if not given:
        if found := found_here():
            return found
        first, last = USUAL_PORTS[0], USUAL_PORTS[-1]
        fail(f"No worker is found on this machine's ports {first} to {last}: name one by --url.", Exit.UNUSABLE)
    try:
        return [base_url(each) for each in given]
    except ValueError as error:
        fail(f"--url: {error}", Exit.UNUSABLE)


def _looks(urls: Sequence[str], interval_s: float) -> Iterator[list[WorkerFigures]]:
    """For ever. The first has nothing to be compared with."""
    before = scrape(urls)
    yield [figures(now, None) for now in before]
    while True:
        time.sleep(interval_s)
        after = scrape(urls)
        yield [figures(now, past) for now, past in zip(after, before, strict=True)]
        before = after


def _print(workers: Sequence[WorkerFigures], interval_s: float, *, as_json: bool) -> None:
    if as_json:
        whole = {
            "totals": dataclasses.asdict(totals(workers)),
            "workers": [dataclasses.asdict(each) for each in workers],
        }
        say(orjson.dumps(whole).decode())
        return
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH_IN_A_FILE)
    console.print(screen(workers, totals(workers), interval_s))
