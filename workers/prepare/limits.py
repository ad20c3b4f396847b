"""What a request may ask for, and how long its answer may get."""

from dataclasses import dataclass

from pelton.pipeline.errors import ContextLengthExceeded, RequestTooLarge
from pelton.pipeline.settings.worker import WorkerSettings
from pelton.pipeline.wire.bodies import CHAT_BODIES, BodyCodec
from pelton.pipeline.wire.contract import TruncationPolicy
from pelton.workers.engine.api import StepEngine


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What a request may ask for. Tokens are prompt plus new; `budget_tokens` is what both line and engine can hold.

    `bodies` reads what is asked for.
    """

    model_name: str
    context_length: int
    budget_tokens: int
    default_max_new_tokens: int
    max_request_bytes: int
    bodies: BodyCodec = CHAT_BODIES
    truncation: TruncationPolicy = TruncationPolicy.REFUSE

    @classmethod
    def of(
        cls, settings: WorkerSettings, model_name: str, engine: StepEngine, bodies: BodyCodec = CHAT_BODIES
    ) -> "RequestLimits":
        return cls(
            model_name=model_name,
            context_length=engine.context_length,
            budget_tokens=min(settings.max_waiting_tokens, engine.max_request_tokens),
            default_max_new_tokens=settings.default_max_new_tokens,
            max_request_bytes=settings.max_request_bytes,
            bodies=bodies,
            truncation=settings.truncation,
        )

    @property
    def most_tokens(self) -> int:
        """Tokens of the largest request."""
        return min(self.context_length, self.budget_tokens)

    def prompt_room(self, asked: int | None) -> int:
        """The longest prompt beside which there is room for as many new tokens as are `asked` for.

        Where nothing is asked the default is kept free, but no more than half of what the model holds.
        """
        return self.most_tokens - (asked or min(self.default_max_new_tokens, self.most_tokens // 2))


def allowed_new_tokens(prompt_tokens: int, asked: int | None, limits: RequestLimits) -> int:
    """How many tokens a request may generate.

    What the sender asked for is kept or refused, never cut; where nothing was asked, the default gives way to the
    context and the budget. Raises `ContextLengthExceeded` or `RequestTooLarge`.
    """
    least = asked or 1
    if prompt_tokens + least > limits.context_length:
        raise ContextLengthExceeded(
            f"The prompt has {prompt_tokens:,} tokens and asks for {least:,} more, but the model's context holds "
            f"{limits.context_length:,}: shorten the messages{' or lower max_completion_tokens' if asked else ''}.",
            param="messages",
        )
    if prompt_tokens + least > limits.budget_tokens:
        raise RequestTooLarge(
            f"Prompt and new tokens come to {prompt_tokens + least:,}, more than the {limits.budget_tokens:,} this "
            "worker takes at once: shorten the messages or lower max_completion_tokens, or have the operator raise "
            "worker.max_waiting_tokens and engine.kv_memory_gib (engine.max_batch_tokens for the padded engine).",
            param="messages",
        )
    room = limits.most_tokens - prompt_tokens
    return asked or min(limits.default_max_new_tokens, room)
