"""`pelton worker`: one inference worker in the foreground."""

import asyncio
from typing import Annotated

import typer
from aiokafka.errors import KafkaError

from pelton.commands.common import Config, Exit, clear_errors, fail
from pelton.logs import configure_logging
from pipeline.settings import load_settings
from workers.engine.model_source import ModelLoadError
from workers.service import serve
from workers.topics import TopicsMissing
from workers.worker import WorkerFailed


def worker(
    config: Config = None,
    verbose: Annotated[bool, typer.Option(help="Log more, the Kafka client's words too.")] = False,
) -> None:
    """Answer requests from Kafka until told to stop.

    Reads the request topics as a member of its consumer group, so any number
    of workers share the work. Settings come from a TOML file and PELTON_*
    variables. SIGTERM or Ctrl-C drains: what runs is finished, published and
    committed, what waits is left to other workers.

    Exit codes: 0 drained; 1 a part of the worker failed; 2 bad settings, no
    Kafka, or a model that cannot be loaded.
    """
    configure_logging(verbose=verbose)
    with clear_errors():
        settings = load_settings(config)
        try:
            asyncio.run(serve(settings))
        except KafkaError as error:
            fail(f"Kafka at {settings.kafka.bootstrap_servers}: {error or type(error).__name__}", Exit.UNUSABLE)
        except (TopicsMissing, ModelLoadError) as error:
            fail(str(error), Exit.UNUSABLE)
        except WorkerFailed as error:
            fail(str(error), Exit.FAILED)
