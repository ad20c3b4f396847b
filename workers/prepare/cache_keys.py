"""Which keys a request has in the cache: the one place that decides what two requests must have in common."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Any

from pelton.cache.keys import answer_key, resend_key
from pelton.pipeline.settings.cache import CacheSettings
from pelton.pipeline.wire.chat import ChatRequest
from pelton.pipeline.wire.contract import CacheUse
from pelton.workers.engine.api import SamplingParams
from pelton.workers.prepare.limits import RequestLimits
from pelton.workers.prepare.sampling_params import is_reproducible, sampling_params
from pelton.workers.requests import CacheKeys, Delivery

_SAMPLING_FIELDS = tuple(field.name for field in fields(SamplingParams))
_sampling_values = attrgetter(*_SAMPLING_FIELDS)
_NO_KEYS = CacheKeys()
_ANOTHER_SEED = 0x5EED
_LIVELY = 0.7  # a temperature at which answers differ and most still make sense


def chosen_again(params: SamplingParams) -> SamplingParams:
    """The same terms for another answer than the last: the likeliest one would only come again."""
    seed = None if params.seed is None else (params.seed + _ANOTHER_SEED) % 2**63
    if params.temperature == 0:
        return replace(params, temperature=_LIVELY, seed=_ANOTHER_SEED)
    return replace(params, seed=seed)


def sampling_identity(params: SamplingParams) -> dict[str, Any]:
    """Every field that changes the answer. A field that is new to `SamplingParams` counts until somebody says not."""
    if params.temperature == 0:  # greedy: what narrows a choice by chance chooses nothing
        params = replace(params, seed=None, top_p=1.0, top_k=0, min_p=0.0)
    return dict(zip(_SAMPLING_FIELDS, _sampling_values(params), strict=True))


@dataclass(frozen=True, slots=True)
class CacheKeyBuilder:
    """What all keys of one worker have in common.

    `default_tokens` and `most_tokens` are what decides how long an answer may get where its sender does not say: the
    default, and the prompt and answer that context and budgets hold.
    """

    enabled: bool
    model: str
    fingerprint: bytes
    default_tokens: int
    most_tokens: int
    share_tenants: bool
    identity: Callable[[str], str] = str
    bodies: bytes = b""
    """Stands for how bodies are read and replies written."""

    @classmethod
    def of(
        cls,
        settings: CacheSettings,
        model: str,
        fingerprint: bytes,
        limits: RequestLimits,
        identity: Callable[[str], str] = str,
    ) -> "CacheKeyBuilder":
        """`identity` gives the part of a rendered prompt that decides its answer."""
        return cls(
            enabled=settings.enabled,
            model=model,
            fingerprint=fingerprint,
            default_tokens=limits.default_max_new_tokens,
            most_tokens=limits.most_tokens,
            share_tenants=settings.share_across_tenants,
            identity=identity,
            bodies=limits.bodies.identity,
        )

    def keys(self, delivery: Delivery, request: ChatRequest, text: str, shortened_to: int | None = None) -> CacheKeys:
        """The keys of a request whose rendered prompt is `text`.

        One that is `shortened_to` so many tokens because of the load shares its answer only with such, and none is kept
        for its very record: sent again, it is to get what it asks for.
        """
        use = delivery.envelope.cache
        if not self.enabled or use is CacheUse.BYPASS:
            return _NO_KEYS
        resend = self._resend(delivery) if shortened_to is None else None
        answer = self._answer(delivery, request, text, shortened_to)
        return CacheKeys(answer, resend, fresh=use is CacheUse.REFRESH)

    def _answer(self, delivery: Delivery, request: ChatRequest, text: str, shortened_to: int | None) -> str | None:
        if not is_reproducible(request):
            return None
        sampling = sampling_identity(sampling_params(request, request.new_tokens or self.default_tokens))
        sampling |= request.shape
        if request.new_tokens is None:
            sampling["most_tokens"] = self.most_tokens
        if shortened_to is not None:
            sampling["shortened_to"] = shortened_to
        return answer_key(
            model=self.model,
            tenant="" if self.share_tenants else delivery.envelope.tenant,
            fingerprint=self.fingerprint,
            prompt=self.identity(text),
            sampling=sampling,
        )

    def _resend(self, delivery: Delivery) -> str | None:
        envelope = delivery.envelope
        if not envelope.id_given:
            return None
        return resend_key(
            tenant=envelope.tenant,
            reply_topic=envelope.reply_topic,
            reply_partition=envelope.reply_partition if envelope.partition_given else None,
            correlation_id=envelope.correlation_id,
            body=self.bodies + (delivery.record.value or b""),
            session=envelope.session,
        )
