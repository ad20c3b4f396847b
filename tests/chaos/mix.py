"""The requests of a run: most are good, some must be refused, some must fail. A function of seed and number."""

import random
from dataclasses import dataclass, replace

import orjson

from pelton.pipeline.wire import contract
from pelton.pipeline.wire.header_values import INT32_BYTES
from pelton.workers.engine.simulated.text import signature
from tests.chaos.history import Kind, Said
from tests.chaos.senders import wishes
from tests.chaos.senders.talks import NO_HISTORY, TURN_TOKENS
from tests.chaos.senders.wishes import Wishes
from tests.faulty.engine import Mark

"""What the simulated engine is told to die of, and to fail."""
POISON_CODE = "poisoned"
FAILING_CODE = "engine_error"

LETTER_BYTES = 20_000
"""What the dead-letter topic takes: some bad requests are larger, so that their letter is refused and shortened."""
BAD_SHARE, FAILING_SHARE, ADDRESSED_SHARE, SHARED_SHARE = 0.02, 0.005, 0.25, 0.3
URGENT_SHARE, TURN_SHARE = 0.05, 0.05
TALKS, TALKS_LAST = 8, 1_500
"""Sessions that go on at once, and after how many requests of all they make way for others."""
MAX_WORDS = 60
URGENT_PARTITIONS = 5
"""Of the topic whose requests go first: fewer than the others have, as workers share partitions and not topics."""
OWN_TOPIC_SHARE = 0.15
OWN_TOPIC = "chaos.own-replies"
"""A reply topic that some senders name, which is deleted and made anew."""
QUESTIONS = 40
"""What is asked again and again, the first of them most often."""
FAILING_QUESTION = 15
"""Fails whenever it is asked: its error must not be told to those who wait for an answer."""
_WORDS = ("asset", "cash", "debt", "equity", "filing", "goodwill", "income", "lease", "margin", "revenue", "tax")


@dataclass(frozen=True, slots=True)
class Content:
    """A record's value and its headers beside the correlation id, and what is due for it (see `history.Sent`)."""

    kind: Kind
    due: str
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()
    shareable: bool = False
    letter: bool = True


@dataclass(frozen=True, slots=True)
class Request:
    """A record to publish. `reply_topic` and `reply_partition` are where the sender wants the reply, if it minds.

    An `urgent` one goes to the topic whose requests go first.
    """

    correlation_id: str
    partition: int
    content: Content
    reply_partition: int | None = None
    reply_topic: str | None = None
    wishes: Wishes = Wishes()  # noqa: RUF009  # frozen
    said: Said | None = None
    urgent: bool = False

    @property
    def key(self) -> bytes | None:
        return None if self.said is None else self.said.talk.encode()

    @property
    def ends(self) -> tuple[str, ...]:
        """Codes of errors with which it may end in place of what is due."""
        return self.wishes.ends if self.said is None else (*self.wishes.ends, NO_HISTORY)

    def headers(self, now_ms: int) -> list[tuple[str, bytes]]:
        """As it is sent now."""
        address = [] if self.reply_partition is None else [(contract.REPLY_PARTITION, _int32(self.reply_partition))]
        topic = [] if self.reply_topic is None else [(contract.REPLY_TOPIC, self.reply_topic.encode())]
        talk = [] if self.said is None else [(contract.SESSION, self.said.talk.encode())]
        own = [(contract.CORRELATION_ID, self.correlation_id.encode()), *address, *topic, *talk]
        return [*own, *self.wishes.headers(now_ms), *self.content.headers]


def _int32(number: int) -> bytes:
    return number.to_bytes(INT32_BYTES, "big", signed=True)


def _body(text: str, **fields: object) -> bytes:
    return orjson.dumps({"model": "default", "messages": [{"role": "user", "content": text}], **fields})


_BAD = (
    Content(Kind.BAD, "invalid_json", b"{"),
    Content(Kind.BAD, "not_utf8", b"\xff\xfe"),
    Content(Kind.BAD, "not_utf8", b"\xff" * 2 * LETTER_BYTES),
    Content(Kind.BAD, "not_an_object", b"[]"),
    Content(Kind.BAD, "unknown_parameter", _body("hot", temprature=1)),
    Content(Kind.BAD, "invalid_value", _body("hot", temperature="hot")),
    Content(Kind.BAD, "unsupported_parameter", _body("stream", stream=True)),
    Content(Kind.BAD, "model_not_found", _body("who?", model="gpt-17")),
    Content(Kind.BAD, "invalid_header", _body("when?"), ((contract.DEADLINE, b"soon"),)),
    Content(
        *(Kind.BAD, wishes.LIMITED, _body("much", max_tokens=wishes.SMALL_TOKENS)),
        headers=((contract.TENANT, wishes.SMALL.encode()),),
        letter=False,
    ),
)


class Mix:
    """Makes the requests; the same for the same seed."""

    def __init__(self, seed: int, partitions: int) -> None:
        self._seed = seed
        self._partitions = partitions

    def request(self, number: int) -> Request:
        """The request of the steady load with this number."""
        rng = random.Random(f"{self._seed} {number}")
        partition, wanted = rng.randrange(self._partitions), rng.randrange(self._partitions)
        content = self._content(rng, number)
        name = f"{self._seed}-{number}"
        if content.kind is not Kind.GOOD:
            return Request(name, partition, content, wanted if rng.random() < ADDRESSED_SHARE else None)
        if rng.random() < TURN_SHARE:
            return self._turn(rng, name, number)
        wished = wishes.draw(rng, self._seed)
        if rng.random() < OWN_TOPIC_SHARE:
            return Request(name, partition, content, reply_topic=OWN_TOPIC, wishes=wished)
        place = wanted if rng.random() < ADDRESSED_SHARE else None
        if urgent := rng.random() < URGENT_SHARE:
            partition %= URGENT_PARTITIONS
        return Request(name, partition, content, place, wishes=wished, urgent=urgent)

    def _turn(self, rng: random.Random, name: str, number: int) -> Request:
        """What is said next in a session. All its turns are on one partition, and their replies too."""
        talk = f"{self._seed}-talk-{number // TALKS_LAST * TALKS + rng.randrange(TALKS)}"
        partition = random.Random(talk).randrange(URGENT_PARTITIONS)
        text = f"Turn {number}?"
        content = Content(Kind.GOOD, "sim:", _body(text, max_tokens=TURN_TOKENS))
        wished = wishes.draw(rng, self._seed)
        own = replace(wished, tenant="", ends=tuple(code for code in wished.ends if code != wishes.LIMITED))
        return Request(name, partition, content, partition, wishes=own, said=Said(talk, text), urgent=True)

    def poison(self, number: int) -> Request:
        """A request that the worker dies of which takes it."""
        rng = random.Random(f"{self._seed} poison {number}")
        content = Content(Kind.POISON, POISON_CODE, _body(f"{number} of {self._seed}: {Mark.KILL}"))
        return Request(f"{self._seed}-poison-{number}", rng.randrange(self._partitions), content)

    def probe(self, name: str, partition: int, reply_partition: int | None = None) -> Request:
        """A good request with this name, besides the load."""
        text = f"Probe {name} of {self._seed}"
        content = Content(Kind.GOOD, signature(f"user: {text}"), _body(text))
        return Request(f"{self._seed}-{name}", partition, content, reply_partition)

    def taken_back(self, number: int, partition: int) -> Request:
        """A request that its sender cancels before a worker can see it."""
        content = Content(Kind.BAD, "cancelled", _body(f"Not this {number} of {self._seed}"), letter=False)
        return Request(f"{self._seed}-cancelled-{number}", partition, content)

    def _content(self, rng: random.Random, number: int) -> Content:
        drawn = rng.random()
        if drawn < BAD_SHARE:
            return rng.choice(_BAD)
        if rng.random() < SHARED_SHARE:
            return self._question(int(rng.paretovariate(1.0)) % QUESTIONS)
        text = f"Request {number} of {self._seed}: {' '.join(rng.choices(_WORDS, k=rng.randint(1, MAX_WORDS)))}?"
        if drawn < BAD_SHARE + FAILING_SHARE:
            return Content(Kind.FAILING, FAILING_CODE, _body(f"{text} {Mark.FAIL}"))
        return Content(Kind.GOOD, signature(f"user: {text}"), _body(text))

    def _question(self, rank: int) -> Content:
        """One of those that many ask: its answer may be another's."""
        text = f"Question {rank} of {self._seed}?"
        if rank == FAILING_QUESTION:
            return Content(Kind.FAILING, FAILING_CODE, _body(f"{text} {Mark.FAIL}", temperature=0), shareable=True)
        return Content(Kind.GOOD, signature(f"user: {text}"), _body(text, temperature=0), shareable=True)
