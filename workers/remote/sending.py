"""One request's way to an endpoint and back: it waits for a place, is sent, and sent again while nobody takes it."""

import asyncio
import time
from dataclasses import dataclass

from pelton.workers.engine.api import (
    Completion,
    EngineRequest,
    Failure,
    FailureKind,
    FinishReason,
    Outcome,
    WrittenAnswer,
)
from pelton.workers.remote.caller import Caller
from pelton.workers.remote.pool import EndpointPool
from pelton.workers.remote.tokens import TokenEstimate
from pelton.workers.remote.verdict import Fate, Verdict


@dataclass(frozen=True, slots=True)
class Sending:
    """Lives on the event loop of pool and caller. A request that nobody takes within `patience_s` has failed."""

    pool: EndpointPool
    caller: Caller
    estimate: TokenEstimate
    patience_s: float

    async def answer(self, request: EngineRequest) -> Outcome:
        """Cancelled, it breaks off the call that is under way."""
        try:
            async with asyncio.timeout_at(request.deadline):
                return await self._answer(request)
        except TimeoutError:
            message = "The deadline passed before the answer was complete."
            return Failure(request.id, FailureKind.DEADLINE, message)

    async def close(self) -> None:
        await self.pool.close()
        await self.caller.close()

    async def _answer(self, request: EngineRequest) -> Outcome:
        give_up_at = time.monotonic() + self.patience_s
        body = request.text.encode()
        said = "all endpoints have as many requests as they carry."
        while True:
            sent_at, verdict = await self._call(request, body, give_up_at)
            match verdict:
                case None:
                    message = f"No endpoint has taken the request within {self.patience_s:g} s: {said}"
                    return Failure(request.id, FailureKind.INTERNAL, message)
                case Verdict(answer=WrittenAnswer() as answer):
                    self.estimate.used(request.text, answer.prompt_tokens)
                    return _completion(request, answer, time.monotonic() - sent_at)
                case Verdict(fate=Fate.REFUSED):
                    return Failure(request.id, FailureKind.REFUSED, verdict.message, verdict.code, verdict.param)
                case Verdict(fate=Fate.FAILED):
                    return Failure(request.id, FailureKind.INTERNAL, verdict.message)
            said = verdict.message

    async def _call(self, request: EngineRequest, body: bytes, give_up_at: float) -> tuple[float, Verdict | None]:
        """When it was sent, and what came of it; None where nobody had a place for it."""
        try:
            async with asyncio.timeout_at(give_up_at):
                endpoint = await self.pool.take()
        except TimeoutError:
            return give_up_at, None
        sent_at = time.monotonic()
        verdict = None
        try:
            verdict = await self.caller.complete(endpoint.url, body, request.on_text)
        finally:
            self.pool.give(endpoint, verdict, sent_at)
        return sent_at, verdict


def _completion(request: EngineRequest, answer: WrittenAnswer, took_s: float) -> Completion:
    return Completion(
        request_id=request.id,
        token_ids=(),
        finish_reason=FinishReason.STOP,  # each choice states its own
        prefill_s=0.0,
        decode_s=took_s,
        cached_tokens=answer.cached_tokens,
        written=answer,
    )
