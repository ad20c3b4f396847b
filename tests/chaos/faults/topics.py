"""Faults of topics, offsets and records: what an operator or a sender does, and the requests that show its effect."""

import asyncio
import random

from pelton.pipeline.settings.kafka import KafkaSettings
from tests.chaos.faults.odd_records import OddRecords
from tests.chaos.faults.operator import Operator
from tests.chaos.load import Load
from tests.chaos.mix import OWN_TOPIC, Mix
from tests.chaos.schedule import Fault, Strike

PROBES = 8
"""Requests for a partition that has just been made."""
ONE_LIFE = 30
"""Requests for a topic before it is deleted, and after."""
RUNNING_S = 1.0
"""How long they run before it is."""
MAX_PARTITIONS = 6


class TopicFaults:
    """`load` sends to the first request topic, `other_load` to the one that is made anew."""

    def __init__(  # noqa: PLR0913  # whom it works through
        self, *, kafka: KafkaSettings, seed: int, mix: Mix, operator: Operator, load: Load, other_load: Load
    ) -> None:
        self._kafka = kafka
        self._seed = seed
        self._mix = mix
        self._operator = operator
        self._load = load
        self._other_load = other_load
        self._locks = {fault: asyncio.Lock() for fault in Fault}
        self.odd = OddRecords(kafka, seed, load)
        self.life = 0
        """How often the other request topic was made anew."""
        self.life_of: dict[str, int] = {}
        """By correlation id, of what was sent to it."""
        self._other_partitions = kafka.partitions

    async def strike(self, strike: Strike, number: int) -> None:
        """Do the damage; faults of one kind come one after the other."""
        rng = random.Random(f"{self._seed} {strike.fault} {number}")
        async with self._locks[strike.fault]:
            match strike.fault:
                case Fault.REPLIES_RENEWED:
                    await self._operator.renew_reply_topic(OWN_TOPIC, rng.randint(1, MAX_PARTITIONS), strike.lasts_s)
                case Fault.REPLIES_GROWN:
                    await self._grow_replies(rng, number)
                case Fault.REQUESTS_GROWN:
                    await self._grow_requests(number)
                case Fault.REQUESTS_RENEWED:
                    await self._renew_requests(rng, strike.lasts_s)
                case Fault.OFFSETS_BACK | Fault.OFFSETS_BEYOND:
                    await self._operator.move_offsets(rng, beyond=strike.fault is Fault.OFFSETS_BEYOND)
                case Fault.ODD_RECORDS:
                    await self.odd.volley(number)

    async def fill_other(self) -> None:
        """Requests for the other topic, as it is now."""
        for number in range(ONE_LIFE):
            request = self._mix.probe(f"other-{len(self.life_of)}", number % self._other_partitions)
            self.life_of[request.correlation_id] = self.life
            await self._other_load.send(request)
        await self._other_load.settle()

    async def _grow_replies(self, rng: random.Random, number: int) -> None:
        for wanted in await self._operator.grow(self._kafka.reply_topic, 1):
            for probe in range(PROBES):
                partition = rng.randrange(self._kafka.partitions)
                await self._load.send(self._mix.probe(f"replies-grown-{number}-{probe}", partition, wanted))

    async def _grow_requests(self, number: int) -> None:
        for partition in await self._operator.grow(self._kafka.request_topics[0], 1):
            for probe in range(PROBES):
                await self._load.send(self._mix.probe(f"requests-grown-{number}-{probe}", partition))

    async def _renew_requests(self, rng: random.Random, away_s: float) -> None:
        """What was sent before is void; what is sent after must be answered as ever."""
        await self.fill_other()
        await asyncio.sleep(RUNNING_S)
        await self._other_load.close()
        self._other_partitions = rng.randint(1, MAX_PARTITIONS)
        topic = self._kafka.request_topics[1]
        await self._operator.renew_request_topic(topic, self.life, self._other_partitions, away_s)
        self.life += 1
        await self.fill_other()
