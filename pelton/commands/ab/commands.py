"""`pelton ab`: send requests on to the pools of an experiment, see who has which variant, report what came of it."""

import time
from typing import Annotated

import orjson
import typer
from rich.console import Console

from pelton.commands.ab.view import as_json as report_as_json
from pelton.commands.ab.view import tables
from pelton.commands.common import (
    Config,
    Exit,
    LogFormatOption,
    Verbose,
    clear_errors,
    fail,
    quiet_libraries,
    run_async,
    run_service,
    say,
    stderr,
)
from pelton.commands.shared.within_reach import within_reach
from pelton.logs import configure_logging
from pelton.pipeline.settings.loading import Settings, load_settings
from pelton.pipeline.settings.routing.experiments import Experiment
from pelton.producers.ab.observations import Observation
from pelton.producers.ab.reading import Span, read_observations
from pelton.producers.ab.report import ExperimentReport, report
from pelton.producers.routing.assignment import assigned, is_shadowed
from pelton.producers.routing.service import route_requests

app = typer.Typer(name="ab", help="Experiments: which model answers whom, and what came of it.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", metavar="", help="Print JSON on stdout.")]
Name = Annotated[str, typer.Argument(metavar="EXPERIMENT", help="A name of routing.experiments.")]

_HOUR_S = 3_600.0


@app.command()
def route(config: Config = None, verbose: Verbose = False, log_format: LogFormatOption = None) -> None:
    """Send requests on to the pools that answer them, until told to stop.

    Reads kafka.request_topics in the group kafka.group_id. Each request goes
    to one pool of routing.pools, by the model or the experiment that it
    names; each is sent on once, however often routers die. Any number of
    routers share the partitions.

    Exit codes: 0 stopped; 1 it did not stop in time, or was told twice; 2 bad
    settings, or no Kafka.
    """
    with clear_errors(log_format=log_format, until_stopped=True):
        settings = load_settings(config)
        configure_logging(settings.log, verbose=verbose, log_format=log_format)
        run_service(lambda: within_reach(settings.kafka, lambda: route_requests(settings.kafka, settings.routing)))


@app.command()
def assign(
    experiment: Name,
    units: Annotated[list[str], typer.Argument(metavar="UNIT...", help="Tenants, users or sessions, as it deals.")],
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Say which variant units have, and whether their requests are copied.

    Exit codes: 0 said; 2 bad settings, or no such experiment.
    """
    with clear_errors():
        found = _experiment(load_settings(config), experiment)
    rows = [
        {
            "unit": unit,
            "variant": assigned(experiment, found.salt, found.weights, unit),
            "shadowed": _copied(experiment, found, unit),
        }
        for unit in units
    ]
    if as_json:
        say(orjson.dumps(rows))
        return
    for row in rows:
        say(f"{row['unit']}\t{row['variant']}{' (copied)' if row['shadowed'] else ''}")


@app.command("report")
def report_command(  # noqa: PLR0913, PLR0917  # the command's options, each by name
    experiment: Annotated[str | None, typer.Argument(metavar="[EXPERIMENT]", help="Default: all.")] = None,
    hours: Annotated[float, typer.Option(min=0.001, help="Of the replies of so many hours.")] = 24.0,
    last: Annotated[int | None, typer.Option(min=1, help="Of so many newest replies of experiments at most.")] = None,
    baseline: Annotated[
        str | None, typer.Option(metavar="VARIANT", help="What others are compared with. Default: the first.")
    ] = None,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Compare the variants of experiments by their committed replies.

    Counts requests, errors, answers from the cache, latency and tokens, each
    with its interval at 95 %, and how the variants differ from the first.
    Units, not requests, are taken as independent: what one user sends is
    alike. Requests that an overflow sent elsewhere are left out, since they
    are those of busy times.

    Exit codes: 0 shown; 1 no replies of experiments; 2 bad arguments or
    settings, or no Kafka; 130 interrupted.
    """
    with clear_errors():
        settings = load_settings(config)
    quiet_libraries()
    span = Span(since_ms=int((time.time() - hours * _HOUR_S) * 1000), last=last)
    topics = [settings.kafka.reply_topic]
    if any(each.shadow is not None for each in settings.routing.experiments.values()):
        topics.append(settings.routing.shadow_topic)
    with stderr.status("Reading replies ..."):
        found = run_async(read_observations(settings.kafka, topics, span))
    reports = _reports(settings, found, experiment, baseline)
    if not reports:
        fail(f"There is no reply of {experiment or 'an experiment'} in {', '.join(topics)} of that time.", Exit.FAILED)
    if as_json:
        say(orjson.dumps([report_as_json(each) for each in reports]))
        return
    for each in reports:
        Console().print(tables(each))


def _reports(
    settings: Settings, found: list[Observation], experiment: str | None, baseline: str | None
) -> list[ExperimentReport]:
    there = {each.routed.experiment for each in found}
    made = []
    for name in sorted(there if experiment is None else there & {experiment}):
        known = settings.routing.experiments.get(name)
        made.append(report(name, found, None if known is None else known.weights, baseline))
        if baseline is not None and baseline not in {each.name for each in made[-1].variants}:
            fail(f"Experiment {name!r} has no variant {baseline!r} to compare with.", Exit.UNUSABLE)
    return made


def _experiment(settings: Settings, name: str) -> Experiment:
    found = settings.routing.experiments.get(name)
    if found is None:
        known = ", ".join(settings.routing.experiments) or "none"
        fail(f"There is no experiment {name!r} in routing.experiments; known: {known}.", Exit.UNUSABLE)
    return found


def _copied(name: str, experiment: Experiment, unit: str) -> bool:
    shadow = experiment.shadow
    return shadow is not None and is_shadowed(name, experiment.salt, shadow.share, unit)
