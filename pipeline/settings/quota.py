"""Settings of what a tenant may use, and of what becomes of requests when more is asked for than can be answered."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from pelton.pipeline.settings.cache import check_url
from pelton.pipeline.settings.section import Positive, Section
from pelton.pipeline.wire.contract import TENANT_PATTERN


class Quota(Section):
    """What one tenant may use. What is unset has no bound."""

    requests_per_minute: Positive | None = None
    """Requests that were begun; one that ends before costs none."""
    tokens_per_minute: Positive | None = None
    """Prompts and answers. Until an answer is there its request counts with the most that it may take."""
    running: Positive | None = None
    """Requests that are in the waiting line or the engine at once."""

    @property
    def is_set(self) -> bool:
        return (self.requests_per_minute, self.tokens_per_minute, self.running) != (None, None, None)


class QuotaSettings(Section):
    """What tenants may use of all workers together. Answers out of the cache cost nothing."""

    default: Quota = Quota()
    """For each tenant that is not named; those who name no tenant are one together."""
    tenants: dict[str, Quota] = Field(default={})
    """By tenant, in place of the default one, each with settings as in `quota.default`."""
    over: Literal["wait", "refuse"] = "wait"
    """What becomes of a request over its tenant's quota: it waits, its deadline permitting, or ends with `rate_limited`
    and the time to wait in the header `pelton-retry-after-ms`."""
    redis_url: str | None = Field(default=None, repr=False)
    """A server for quotas alone, with the user, password and certificates of the section `cache`. Unset,
    `cache.redis_url`. Without any, or while it is away, each worker of the group gives its part of each quota."""

    @field_validator("tenants")
    @classmethod
    def _are_tenants(cls, tenants: dict[str, Quota]) -> dict[str, Quota]:
        if any(not re.fullmatch(TENANT_PATTERN, name) for name in tenants):
            raise ValueError("a tenant has 1 to 128 letters, digits or any of . _ : @ -")
        return tenants

    @model_validator(mode="after")
    def _url_fits(self) -> Self:
        check_url(self.redis_url)
        return self

    @property
    def any(self) -> bool:
        return self.default.is_set or any(quota.is_set for quota in self.tenants.values())

    def of(self, tenant: str) -> Quota:
        return self.tenants.get(tenant, self.default)


class OverloadSettings(Section):
    """What is refused or shortened under load. All of it is off by default."""

    refuse_late: bool = False
    """Refuse a request at once, with `deadline_exceeded`, whose deadline passes before its answer can be there by the
    speed that was measured lately. Nothing is refused so before a speed is known."""
    late_margin: Annotated[float, Field(ge=0)] = 0.1
    """How far the speed may be underestimated: nothing is refused that a worker so much faster would answer in time."""
    shorten_above_s: Annotated[float, Field(gt=0)] | None = None
    """While the backlog takes longer, answers are cut to `shorten_to` tokens. Unset: never. The reply's header
    `pelton-degraded` and its member `pelton_degraded` say so. What has to have a form, or at least more tokens, is not
    cut."""
    shorten_to: Positive = 128
    """Tokens that an answer may then have."""
    refuse_above_s: Annotated[float, Field(gt=0)] | None = None
    """While the backlog takes longer, requests are refused with `overloaded`, and the time to wait in the header
    `pelton-retry-after-ms`. Unset: never."""
    recovered: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Each of both ends when the backlog is below this part of what began it."""
    spare_interactive: bool = True
    """Neither is done to interactive requests."""

    @model_validator(mode="after")
    def _shortens_first(self) -> Self:
        if self.shorten_above_s and self.refuse_above_s and self.shorten_above_s >= self.refuse_above_s:
            raise ValueError("shorten_above_s must be below refuse_above_s: what is refused cannot be shortened")
        return self
