"""`pelton worker`: one inference worker in the foreground."""

import asyncio
import logging
from pathlib import Path
from typing import Annotated

import typer
from aiokafka.errors import KafkaError

from pipeline.settings import SettingsError, load_settings
from workers.service import serve
from workers.topics import TopicsMissing
from workers.worker import WorkerFailed
