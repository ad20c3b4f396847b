"""Gathers what a run has left: Kafka's logs, the operator's account, the workers' logs, the tools' output."""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import orjson

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.wire.contract import dead_letter_topic
from tests.chaos import logs
from tests.chaos.faults.operator import Operator
from tests.chaos.faults.topics import TopicFaults
from tests.chaos.history import History, Letter, Reply, Sent
from tests.chaos.load import Load
from tests.chaos.mix import OWN_TOPIC

LIST_S = 60
_Placed = TypeVar("_Placed", Reply, Letter)


class Evidence:
    """Of one run, when all is over."""

    def __init__(
        self, kafka: KafkaSettings, operator: Operator, faults: TopicFaults, loads: Sequence[Load], folder: Path
    ) -> None:
        self._kafka = kafka
        self._operator = operator
        self._faults = faults
        self._loads = loads
        self._folder = folder

    async def gather(self) -> History:
        """Raises `LogStuck`."""
        kafka, (first, other, urgent) = self._kafka, self._kafka.request_topics
        stored = [logs.stored(record) for topic in (first, urgent) for record in await logs.read_log(kafka, topic)]
        stored += [logs.stored(record, self._faults.life) for record in await logs.read_log(kafka, other)]
        stored += self._operator.void
        load, other_load, urgent_load = self._loads
        replies = [*self._operator.kept]
        for topic in (kafka.reply_topic, OWN_TOPIC):
            replies += map(logs.reply, await logs.read_log(kafka, topic))
        letters = await logs.read_log(kafka, dead_letter_topic(first))
        others = [
            record for topic in (other, urgent) for record in await logs.read_log(kafka, dead_letter_topic(topic))
        ]
        owed = [record for record in (*letters, *others) if not logs.is_odd(record)]
        return History(
            sent=(*load.sent, *urgent_load.sent, *map(self._of_its_life, other_load.sent)),
            stored=tuple(stored),
            replies=tuple(map(self._in_its_life, replies)),
            letters=tuple(self._in_its_life(logs.letter(record)) for record in owed),
            lag=await logs.lag(kafka),
            acts=self._operator.acts,
            silent=tuple(place for place in self._faults.odd.loud if not self._is_named(place)),
            unlisted=await self._unlisted(letters),
        )

    def _in_its_life(self, found: _Placed) -> _Placed:
        """The topic that is made anew has the same offsets again: the correlation id tells which is meant."""
        life = self._faults.life_of.get(found.correlation_id)
        return found if life is None else replace(found, source=f"{found.source}@{life}")

    def _of_its_life(self, sent: Sent) -> Sent:
        life = self._faults.life_of[sent.correlation_id]
        return sent if sent.source is None else replace(sent, source=f"{sent.source}@{life}")

    def _is_named(self, place: str) -> bool:
        topic, partition, offset = place.rsplit("-", 2)
        line = f"Offsets {offset} to {offset} of topic {topic}, partition {partition}, are passed over"
        return any(line in log.read_text(errors="replace") for log in self._folder.glob("*.log"))

    async def _unlisted(self, letters: Sequence[Any]) -> int:
        """How many of these `pelton dlt list` does not show."""
        listing = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pelton", "dlt", "list", "--json"),
            *("--topic", dead_letter_topic(self._kafka.request_topics[0])),
            env=os.environ | self._environment(),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            output, _ = await asyncio.wait_for(listing.communicate(), LIST_S)
        except TimeoutError:
            listing.kill()
            output = b""
        shown = {orjson.loads(line)["place"] for line in output.splitlines()}
        return len({f"{record.partition}:{record.offset}" for record in letters if not logs.is_odd(record)} - shown)

    def _environment(self) -> Mapping[str, str]:
        secret = self._kafka.group_secret
        return {
            "PELTON_KAFKA__BOOTSTRAP_SERVERS": self._kafka.bootstrap_servers,
            "PELTON_KAFKA__GROUP_SECRET": secret.get_secret_value() if secret else "",
        }
