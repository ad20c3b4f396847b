"""Workers that stop themselves at a moment that a test names (`saboteur.py`), each in a process of its own."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import psutil

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.stack.process import ChildProcess

SCRIPT = Path(__file__).with_name("saboteur.py")


@asynccontextmanager
async def saboteur(
    kafka: KafkaSettings, moment: str, name: str, folder: Path, *more: str, **variables: str
) -> AsyncIterator[ChildProcess]:
    """A worker on these topics, with further arguments of the script and variables of its environment."""
    command = [sys.executable, str(SCRIPT), moment, name, *more]
    environment = {
        "PELTON_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "PELTON_KAFKA__GROUP_ID": kafka.group_id,
        "PELTON_KAFKA__REQUEST_TOPICS": orjson.dumps(kafka.request_topics).decode(),
        "PELTON_KAFKA__REPLY_TOPIC": kafka.reply_topic,
        "PELTON_KAFKA__CREATE_TOPICS": "true",
        "PELTON_KAFKA__SESSION_TIMEOUT_MS": "6000",
        "PELTON_ENGINE__KIND": "simulated",
        "PELTON_ENGINE__SIMULATED__ITL_MS": "1",
        **variables,
    }
    log_file = folder / f"{moment}-{name}.log"
    process = ChildProcess(moment, command, log_file=log_file, grace_s=20, environment=environment)
    try:
        yield process
    finally:
        await asyncio.to_thread(process.kill)


def is_frozen(process: ChildProcess) -> bool:
    return psutil.Process(process.pid).status() == psutil.STATUS_STOPPED
