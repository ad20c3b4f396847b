"""`pelton serve`: OpenAI's HTTP API in front of the topics."""

from typing import Annotated

import typer

from pelton.commands.common import Config, Exit, LogFormatOption, Verbose, clear_errors, fail, run_service
from pelton.commands.shared.within_reach import within_reach
from pelton.logs import configure_logging
from pelton.pipeline.settings.loading import load_settings
from pelton.producers.http.server import serve_http
from pelton.telemetry import traces


def serve(
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Default: serve.port; 0: any.")] = None,
    host: Annotated[str | None, typer.Option(help="Default: serve.host, which is this machine only.")] = None,
    verbose: Verbose = False,
    log_format: LogFormatOption = None,
    config: Config = None,
) -> None:
    """Serve OpenAI's HTTP API: chat completions, files and batches.

    Requests go to the workers through Kafka, as those of any other client.
    Batches survive this server: their state is in Kafka, their files are in
    serve.storage, and several servers with the same settings share the work.

    Point any OpenAI client at http://HOST:PORT/v1.

    Exit codes: 0 stopped; 1 it did not stop in time, or was told twice; 2 bad
    settings, no Kafka, or an address in use.
    """
    with clear_errors(log_format=log_format, until_stopped=True):
        settings = load_settings(config)
        configure_logging(settings.log, verbose=verbose, log_format=log_format)
        given = {name: value for name, value in (("port", port), ("host", host)) if value is not None}
        here = settings.model_copy(update={"serve": settings.serve.model_copy(update=given)})
        try:
            with traces(here.traces, "pelton-serve") as kept:
                run_service(lambda: within_reach(here.kafka, lambda: serve_http(here, kept)))
        except SystemExit:  # uvicorn's word for an address that it cannot have
            address = f"{here.serve.host}:{here.serve.port}"
            fail(f"{address} cannot be listened on: choose another serve.port or serve.host.", Exit.UNUSABLE)
