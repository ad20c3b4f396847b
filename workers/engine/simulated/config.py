"""Speed and sizes of the simulated model."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SimulatedConfig:
    """Speed and sizes of the simulated model; times in milliseconds.

    A step takes `itl_ms` + running requests x `itl_ms_per_row` and gives each of them a token; a step in which
    requests join takes `ttft_ms` more, however many and however long they are. The lengths of the answers are
    exponentially distributed from `min_output_tokens` around `mean_output_tokens`, cut at `max_output_tokens`;
    `seed` chooses among such worlds.
    """

    ttft_ms: float = 20.0
    itl_ms: float = 5.0
    itl_ms_per_row: float = 0.0
    min_output_tokens: int = 8
    mean_output_tokens: int = 64
    max_output_tokens: int = 512
    seed: int = 0
    context_length: int = 8192
    max_batch_tokens: int = 8192
    max_running: int = 256

    def __post_init__(self) -> None:
        if min(self.ttft_ms, self.itl_ms, self.itl_ms_per_row) < 0:
            raise ValueError("ttft_ms, itl_ms and itl_ms_per_row must not be negative")
        if not 1 <= self.min_output_tokens <= self.mean_output_tokens <= self.max_output_tokens:
            raise ValueError("output tokens must satisfy 1 <= min <= mean <= max")
        if min(self.context_length, self.max_batch_tokens, self.max_running) < 1:
            raise ValueError("context_length, max_batch_tokens and max_running must be at least 1")
