"""What an engine says of itself, for metrics."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KVCacheStats:
    """How full the KV cache is, and what came of it since the engine's start. All 0 for an engine without pages.

    `prefix_lookup_tokens` of prompts were looked up, and of these `prefix_hit_tokens` needed no computing.
    """

    pages: int = 0
    pages_used: int = 0
    preemptions: int = 0
    prefix_lookup_tokens: int = 0
    prefix_hit_tokens: int = 0


@dataclass(frozen=True, slots=True)
class SpeculationStats:
    """Guessed tokens that were verified since the engine's start, and those of them that came true."""

    drafted: int = 0
    accepted: int = 0


@dataclass(frozen=True, slots=True)
class StepStats:
    """What the last step computed: rows in the batch, tokens that were somebody's, tokens computed with padding.

    Guessed tokens that did not come true count as padding.
    """

    rows: int
    useful_tokens: int
    computed_tokens: int
    kv_cache: KVCacheStats = KVCacheStats()
    speculation: SpeculationStats = SpeculationStats()
