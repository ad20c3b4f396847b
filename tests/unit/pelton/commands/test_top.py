"""`pelton top` against real metrics ports."""

import io
import re
from collections.abc import Iterator
from contextlib import ExitStack, closing

import orjson
import pytest
from rich.console import Console
from typer.testing import CliRunner

from pelton.cli import app
from pelton.commands.top.figures import figures, totals
from pelton.commands.top.scraping import base_url, scrape
from pelton.commands.top.view import TABLE_WIDTH, screen
from pelton.pipeline.lifecycle import State
from pelton.pipeline.metrics import Metrics
from pelton.workers.status_server import StatusServer


class Port:
    """A worker's metrics, served as a worker serves them."""

    def __init__(self, model: str = "tiny") -> None:
        self.metrics = Metrics()
        self.metrics.worker_info.labels("worker-0", model, "simulated").set(1)
        self.server = StatusServer("127.0.0.1", 0, self.metrics.registry, lambda: State.READY)
        self.url = f"http://127.0.0.1:{self.server.port}"

    def works(self) -> None:
        """As between two looks."""
        metrics = self.metrics
        metrics.partitions.set(6)
        metrics.running_requests.set(8)
        metrics.lane_waiting.labels("interactive").set(2)
        metrics.lane_waiting.labels("batch").set(40)
        metrics.waiting_requests.set(42)
        metrics.backlog_requests.set(900)
        metrics.backlog_seconds.set(75)
        metrics.finished.labels("ok").inc(10)
        metrics.finished.labels("poisoned").inc(2)
        metrics.generated_tokens.inc(500)
        metrics.cache_requests.labels("hit-local").inc(5)
        metrics.cache_requests.labels("miss").inc(5)
        metrics.kv_pages.set(200)
        metrics.kv_pages_used.set(50)
        for _ in range(4):
            metrics.step_seconds.observe(0.02)
            metrics.batch_rows.observe(8)
            metrics.batch_fill.observe(0.75)


@pytest.fixture
def port() -> Iterator[Port]:
    found = Port()
    with closing(found.server):
        yield found


def test_two_looks_give_rates_and_means(port: Port) -> None:
    """Between the first and the second look, and nothing of it at the first."""
    [before] = scrape([port.url])
    first = figures(before, None)
    assert first.answered_per_s is None
    assert first.step_ms is None
    port.works()
    [after] = scrape([port.url])
    worker = figures(after, before)
    assert (worker.state, worker.kafka_away) == ("ready", False)
    assert (worker.model, worker.engine, worker.partitions, worker.running) == ("tiny", "simulated", 6, 8)
    assert worker.lanes == {"interactive": 2, "batch": 40}
    seconds = after.at - before.at
    assert worker.answered_per_s == pytest.approx(10 / seconds)
    assert worker.failed_per_s == pytest.approx(2 / seconds)
    assert worker.tokens_per_s == pytest.approx(500 / seconds)
    assert worker.step_ms == pytest.approx(20)
    assert (worker.rows, worker.fill, worker.kv_share, worker.cached_share) == (8, 0.75, 0.25, 0.5)
    assert worker.backlog_s == 75
    assert (worker.memory_bytes or 0) > 1e6
    [later] = scrape([port.url])
    assert figures(later, after).step_ms is None


def test_totals_are_of_those_that_answer(port: Port) -> None:
    """A worker that is gone is named, and adds nothing."""
    gone = Port()
    gone.server.close()
    port.works()
    port.metrics.waiting_sessions.set(3)
    port.metrics.waiting_quotas.set(1)
    workers = [figures(each, None) for each in scrape([port.url, gone.url])]
    whole = totals(workers)
    assert (whole.workers, whole.ready, whole.backlog, whole.waiting, whole.backlog_s) == (1, 1, 900, 42, 75)
    assert (whole.waiting_sessions, whole.waiting_quotas) == (3, 1)
    assert workers[1].state == "gone"
    assert workers[1].error == "Connection refused"


def test_the_screen_has_all_workers(port: Port) -> None:
    """No figure is cut in a terminal of whatever width, and what a worker calls its model acts on none."""
    with ExitStack() as open_:
        odd = Port(model="\x1b[2Jevil")
        open_.enter_context(closing(odd.server))
        before = scrape([port.url, odd.url, "http://127.0.0.1:9"])
        port.works()
        after = scrape([port.url, odd.url, "http://127.0.0.1:9"])
    workers = [figures(now, past) for now, past in zip(after, before, strict=True)]
    for width in (60, 80, 100, 150):
        out = io.StringIO()
        console = Console(file=out, width=width, force_terminal=True, color_system=None)
        console.print(screen(workers, totals(workers), 2))
        text = out.getvalue()
        assert "2 of 3 workers ready" in text
        for word in ("tiny", "75 s", "900", "25%", "20.0", "gone", "refused", "active", "prefix", port.url[7:]):
            assert word in text
        assert "…" not in text or width >= TABLE_WIDTH  # there the model's name gives way
        assert "\x1b[2J" not in text
        assert all(len(line) <= width for line in text.splitlines())


def test_a_worker_that_waits_for_kafka_shows_it(port: Port) -> None:
    """It is ready to go on when Kafka is back, and does nothing until then."""
    port.metrics.kafka_away.set(1)
    [worker] = [figures(each, None) for each in scrape([port.url])]
    assert worker.kafka_away
    out = io.StringIO()
    Console(file=out, width=100).print(screen([worker], totals([worker]), 2))
    assert "no Kafka" in out.getvalue()


def test_the_command_prints_json_once(port: Port) -> None:
    """Two looks, one object, exit code 0; 1 where nobody answers, 2 for what is no address."""
    port.works()
    run = CliRunner()
    done = run.invoke(app, ["top", "--url", port.url, "--json", "--interval", "0.2"])
    assert done.exit_code == 0, done.output
    whole = orjson.loads(done.stdout)
    assert whole["totals"]["backlog"] == 900
    assert whole["workers"][0]["lanes"]["batch"] == 40
    assert '"partitions":6,' in done.stdout  # a count is a whole number
    once = run.invoke(app, ["top", "--url", port.url, "--once", "--interval", "0.2"])
    assert once.exit_code == 0
    assert "1 of 1 workers ready" in once.stdout
    assert run.invoke(app, ["top", "--url", "127.0.0.1:9", "--once", "--interval", "0.2"]).exit_code == 1
    assert run.invoke(app, ["top", "--url", "ftp://x", "--once"]).exit_code == 2


def test_a_worker_that_was_started_again_is_not_compared(port: Port) -> None:
    """Counters that begin anew give no negative rates."""
    port.works()
    [before] = scrape([port.url])
    series = dict(before.series)
    start = next(key for key in series if key[0] == "process_start_time_seconds")
    [now] = scrape([port.url])
    changed = figures(now, type(now)(now.url, now.at - 1, now.state, series=series | {start: 1.0}))
    assert changed.answered_per_s is None


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("host:9400", "http://host:9400"),
        ("http://host:9400/metrics", "http://host:9400"),
        ("https://host/", "https://host"),
    ],
)
def test_addresses(given: str, meant: str) -> None:
    """As people have them at hand."""
    assert base_url(given) == meant
    for wrong in ("file:///etc/passwd", "http://", "host:1/other", ""):
        with pytest.raises(ValueError, match=re.escape(repr(wrong))):
            base_url(wrong)
