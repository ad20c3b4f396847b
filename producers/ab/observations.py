"""What one committed reply says of its variant."""

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from pelton.pipeline.errors import InvalidHeader
from pelton.pipeline.wire import contract
from pelton.pipeline.wire.contract import CacheOutcome
from pelton.pipeline.wire.routed import Routed

NO_CODE = "unknown"
_FROM_CACHE = {outcome.encode() for outcome in CacheOutcome} - {
    CacheOutcome.MISS.encode(),
    CacheOutcome.BYPASS.encode(),
}
_STAGES = (
    contract.QUEUE_MS,
    contract.BATCH_WAIT_MS,
    contract.PREFILL_MS,
    contract.DECODE_MS,
    contract.PUBLISH_MS,
)


@dataclass(frozen=True, slots=True)
class Observation:
    """A reply. `latency_ms` is from sending the request to its reply, as the stages of its headers say; tokens are
    those that the answer states. An error has neither; `error` is its code, None of an answer.
    """

    routed: Routed
    unit: str
    model: str
    error: str | None = None
    latency_ms: float = 0.0
    prompt_tokens: int = 0
    new_tokens: int = 0
    from_cache: bool = False


def observation(headers: Mapping[str, bytes], value: bytes | None) -> Observation | None:
    """None for the reply to a request of no experiment, and for what no worker of ours wrote."""
    try:
        routed = Routed.read(headers)
        body = orjson.loads(value or b"")
    except (InvalidHeader, orjson.JSONDecodeError):
        return None
    if routed is None or not isinstance(body, dict):
        return None
    unit = routed.unit or headers.get(contract.CORRELATION_ID, b"").hex()
    model = headers.get(contract.MODEL, b"").decode("utf-8", "replace")
    if (error := body.get("error")) is not None:
        code = error.get("code") if isinstance(error, dict) else None
        return Observation(routed, unit, model, code if isinstance(code, str) else NO_CODE)
    usage = body.get("usage")
    counted = usage if isinstance(usage, dict) else {}
    return Observation(
        routed,
        unit,
        model,
        latency_ms=sum(_number(headers.get(stage)) for stage in _STAGES),
        prompt_tokens=_tokens(counted.get("prompt_tokens")),
        new_tokens=_tokens(counted.get("completion_tokens")),
        from_cache=headers.get(contract.CACHE) in _FROM_CACHE,
    )


def _number(raw: bytes | None) -> float:
    try:
        return float(raw or 0)
    except ValueError:
        return 0.0


def _tokens(count: object) -> int:
    return count if isinstance(count, int) else 0
