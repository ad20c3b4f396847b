"""Settings of what a tenant may use."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from pelton.pipeline.settings.cache import check_url
from pelton.pipeline.settings.section import Positive, Section
from pelton.pipeline.wire.contract import TENANT_PATTERN

TenantName = Annotated[str, StringConstraints(pattern=f"^{TENANT_PATTERN}$")]


class Quota(Section):
    """What one tenant may use. What is unset has no bound."""

    requests_per_minute: Positive | None = None
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
    tenants: dict[TenantName, Quota] = Field(default={})
    """Quotas in place of the default one, by tenant."""
    over: Literal["wait", "refuse"] = "wait"
    """What becomes of a request over its tenant's quota: it waits, its deadline permitting, or ends with `rate_limited`
    and the time to wait in the header `pelton-retry-after-ms`."""
    redis_url: str | None = Field(default=None, repr=False)
    """A server for quotas alone, with the user, password and certificates of the section `cache`. Unset,
    `cache.redis_url`. Without any, or while it is away, each worker of the group gives its part of each quota."""

    @model_validator(mode="after")
    def _url_fits(self) -> Self:
        check_url(self.redis_url)
        return self

    @property
    def any(self) -> bool:
        return self.default.is_set or any(quota.is_set for quota in self.tenants.values())

    def of(self, tenant: str) -> Quota:
        return self.tenants.get(tenant, self.default)
