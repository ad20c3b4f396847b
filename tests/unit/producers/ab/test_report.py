"""An experiment's report: what counts for whom, what differs, and how that is said."""

import random

import orjson
from rich.console import Console

from pelton.commands.ab.view import as_json, tables
from pelton.pipeline.wire.contract import Route
from pelton.pipeline.wire.routed import Routed
from pelton.producers.ab.observations import Observation, observation
from pelton.producers.ab.report import ExperimentReport, report

WEIGHTS = {"now": 1.0, "new": 1.0}


def seen(variant: str, unit: int, route: Route = Route.WEIGHT, **more) -> Observation:
    return Observation(Routed("reports", variant, route, f"{unit:016x}"), str(unit), f"model-{variant}", **more)


def simulated(new_ms: float, users: int = 200) -> list[Observation]:
    chance = random.Random(7)
    return [
        seen(
            "new" if user % 2 else "now", user, latency_ms=chance.gauss(new_ms if user % 2 else 100, 20), new_tokens=10
        )
        for user in range(users)
        for _ in range(5)
    ]


def shown(found: ExperimentReport, width: int = 200) -> str:
    console = Console(width=width)
    with console.capture() as captured:
        console.print(tables(found))
    return captured.get()


def said(found: ExperimentReport, metric: str) -> str:
    return next(each["says"] for each in as_json(found)["differences"] if each["metric"] == metric)


def test_a_difference_is_said_with_its_interval() -> None:
    found = report("reports", simulated(130), WEIGHTS)
    assert said(found, "latency").startswith("latency: new has ")
    assert " ms more (" in said(found, "latency")
    assert said(found, "new tokens").startswith("new tokens: no difference seen at 95 %")
    assert "new beside now:" in shown(found)


def test_no_difference_is_said_where_none_is() -> None:
    assert said(report("reports", simulated(100), WEIGHTS), "latency").startswith("latency: no difference seen at 95 %")


def test_another_baseline_turns_the_difference_round() -> None:
    (first,) = [each for each in report("reports", simulated(130), WEIGHTS).differences if each.metric == "latency"]
    turned = report("reports", simulated(130), WEIGHTS, "new")
    (second,) = [each for each in turned.differences if each.metric == "latency"]
    assert (first.value, first.interval.low) == (-second.value, -second.interval.high)


def test_requests_of_busy_times_and_copies_count_for_themselves() -> None:
    """What an overflow moved is in no variant's figures, and a shadow is compared under its own name."""
    moved = [seen("now", 7, Route.OVERFLOW, latency_ms=1e9)]
    copies = [seen("next", user, Route.SHADOW, latency_ms=50) for user in range(100)]
    found = report("reports", [*simulated(100), *moved, *copies], WEIGHTS)
    now, _, shadow = found.variants
    assert (now.requests, now.overflowed, shadow.name, shadow.requests) == (500, 1, "next (shadow)", 100)
    assert now.figures["latency"].value < 200
    assert "calmer times" in shown(found)
    assert found.mismatch is None


def test_other_experiments_and_errors() -> None:
    """An error counts as one, with its code, and has no latency."""
    other = Observation(Routed("other", "now", Route.WEIGHT), "1", "m", latency_ms=1e9)
    failed = [seen("now", user, error="out_of_memory") for user in range(0, 100, 2)]
    now, _ = report("reports", [*simulated(100), other, *failed], WEIGHTS).variants
    assert now.errors == {"out_of_memory": 50}
    assert now.figures["errors"].value == 50 / 550
    assert now.figures["latency"].value < 200


def test_uneven_dealing_is_a_warning() -> None:
    uneven = [each for each in simulated(100, users=800) if each.routed.variant == "now" or int(each.unit) % 3]
    assert "not dealt as the weights say" in shown(report("reports", uneven, WEIGHTS))
    assert "not dealt as the weights say" not in shown(report("reports", simulated(100), WEIGHTS))


def test_little_is_shown_without_intervals() -> None:
    """One request of one unit, in an experiment that the settings no longer have: figures, and nothing claimed."""
    found = report("reports", [seen("now", 1, latency_ms=5)], None)
    assert found.variants[0].figures["latency"].interval is None
    assert found.differences == ()
    assert orjson.loads(orjson.dumps(as_json(found)))["variants"][0]["requests"] == 1
    assert shown(found)
    assert report("reports", [], WEIGHTS).variants[0].figures == {}


def test_names_do_not_act_on_the_terminal() -> None:
    assert "\x1b[2J" not in shown(report("reports", [seen("now", 1, error="\x1b[2J[red]")], None))


def test_a_reply_is_read_by_its_headers() -> None:
    headers = {
        "pelton-variant": b"reports/new",
        "pelton-route": b"shadow",
        "pelton-unit": b"0123456789abcdef",
        "pelton-model": b"small",
        "pelton-queue-ms": b"1.5",
        "pelton-prefill-ms": b"2.5",
        "pelton-cache": b"hit-remote",
    }
    value = orjson.dumps({"usage": {"prompt_tokens": 3, "completion_tokens": 4}})
    found = observation(headers, value)
    assert found == Observation(
        Routed("reports", "new", Route.SHADOW, "0123456789abcdef"), "0123456789abcdef", "small", None, 4.0, 3, 4, True
    )
    assert observation(headers, b'{"error": {"code": "cancelled"}}').error == "cancelled"
    for other in ({}, headers | {"pelton-variant": b"no slash"}):
        assert observation(other, value) is None
    for broken in (None, b"", b"{", b"[]"):
        assert observation(headers, broken) is None
