"""What a batch file costs: exact tokens, and the time at a speed that is given or measured."""

import orjson
import pytest
from prometheus_client import CollectorRegistry, Gauge, start_http_server
from typer.testing import CliRunner

from pelton.cli import app
from pelton.commands.shared.duration import duration
from tests.unit.workers.engine._support.saved_model import save_model

HEAD = {"method": "POST", "url": "/v1/chat/completions"}
MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.fixture
def source(tmp_path):
    """One line with a limit of five tokens, and one with three answers without any."""
    bodies = [
        {"model": "default", "messages": MESSAGES, "max_tokens": 5},
        {"model": "default", "messages": MESSAGES, "n": 3},
    ]
    lines = [{"custom_id": str(number), **HEAD, "body": body} for number, body in enumerate(bodies)]
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"".join(orjson.dumps(each) + b"\n" for each in lines))
    return str(path)


def checked(*arguments):
    told = CliRunner().invoke(app, ["files", "check", *arguments, "--json"])
    assert told.exit_code == 0, told.output
    return orjson.loads(told.stdout.splitlines()[-1])


def test_tokens_are_counted_as_a_worker_counts_them(source, tmp_path):
    """By the model's tokenizer and chat template: this one has a token for each byte, and its template adds none."""
    save_model(tmp_path)
    found = checked(source, "--tokenizer", str(tmp_path), "--tokens-per-second", "10")
    assert (found["exact"], found["prompt_tokens"], found["answer_tokens"], found["open_ended"]) == (True, 4, 5, 3)
    assert found["at_most_s"] == pytest.approx((4 + 5 + 3 * 512) / 10)


def test_the_speed_is_that_of_all_workers(source):
    """Their metrics are added; one that has measured none yet adds nothing."""
    registry = CollectorRegistry()
    speed = Gauge("pelton_tokens_per_second", "As a worker has it.", registry=registry)
    server, thread = start_http_server(0, "127.0.0.1", registry)
    url = f"http://127.0.0.1:{server.server_port}/metrics"
    try:
        speed.set(float("nan"))
        assert CliRunner().invoke(app, ["files", "check", source, "--metrics", url]).exit_code == 2
        speed.set(50)
        found = checked(source, "--metrics", url, "--metrics", url)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert found["exact"] is False
    assert found["tokens_per_second"] == 100
    assert found["at_most_s"] == pytest.approx((found["prompt_tokens"] + 5 + 3 * 512) / 100)


@pytest.mark.parametrize("option", [["--metrics", "file:///etc/passwd"], ["--tokenizer", "/no/such/folder"]])
def test_what_cannot_be_asked_is_said(source, option):
    """With the option's name, and no trace."""
    told = CliRunner().invoke(app, ["files", "check", source, *option])
    assert told.exit_code == 2
    assert option[0] in told.output


@pytest.mark.parametrize(
    ("seconds", "told"), [(40.2, "40 s"), (150, "2.5 min"), (3_600, "60 min"), (9_000, "2.5 h"), (200_000, "2.3 days")]
)
def test_durations_are_for_people(seconds, told):
    """One unit, and no more digits than they mean."""
    assert duration(seconds) == told
