"""What a request is suspected of when workers died that had it in their engine."""

from dataclasses import dataclass

import orjson

from pelton.pipeline.wire.records import Source

SPLIT = 4
"""Suspects run in groups of a quarter of those that were together when the worker died, so that each further crash
leaves a quarter of them. Compared with halves that is as many groups at worst, fewer on average, and half the crashes,
each of which costs a start with a model to load."""


@dataclass(frozen=True, slots=True)
class CrashHistory:
    """How many `crashes` the request was in the engine for, how many were `together` at the last, how often `alone`."""

    crashes: int = 0
    together: int = 0
    alone: int = 0

    def after_crash(self, together: int) -> "CrashHistory":
        """One more crash, with `together` requests in the engine, this one included."""
        return CrashHistory(self.crashes + 1, together, self.alone + (together == 1))

    @property
    def most_together(self) -> int:
        """In how large a group of suspects the request may run next."""
        return max(1, self.together // SPLIT)


NO_CRASHES = CrashHistory()


def suspect_key(group_id: str, source: Source) -> bytes:
    """The record key of a suspicion: each consumer group has its own workers, and its own experience with a request."""
    return orjson.dumps([group_id, source.topic, source.partition, source.offset])


def read_key(key: bytes) -> tuple[str, Source]:
    """The inverse of `suspect_key`: group id and source. Raises `ValueError` for a key that is none of ours."""
    match orjson.loads(key):
        case [str(group_id), str(topic), int(partition), int(offset)]:
            return group_id, Source(topic, partition, offset)
    raise ValueError(f"not a suspect's key: {key[:100]!r}")


def suspect_value(blame: CrashHistory) -> bytes:
    return orjson.dumps(blame)


def read_value(value: bytes) -> CrashHistory:
    """The inverse of `suspect_value`. Fields of later versions are ignored. Raises `ValueError`."""
    match orjson.loads(value):
        case {"crashes": int(crashes), "together": int(together), "alone": int(alone)}:
            return CrashHistory(crashes, together, alone)
    raise ValueError(f"not a suspicion: {value[:100]!r}")
