"""Settings of the router: pools of workers, each with its model, and experiments between them."""

import re
from itertools import chain
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from pelton.pipeline.settings.section import Seconds, Section, Topic
from pelton.pipeline.wire import contract
from pelton.pipeline.wire.routed import NAME

Weight = Annotated[float, Field(gt=0, le=1_000_000)]
Share = Annotated[float, Field(gt=0, le=1)]


class Pool(Section):
    """Workers that serve one model: one group, on topics of its own."""

    topic: Topic
    """What the pool's workers read: one of their `kafka.request_topics`."""
    interactive_topic: Topic | None = None
    """Where interactive requests go, one of their `kafka.interactive_topics`; unset, to `topic`."""
    group_id: str
    """Their `kafka.group_id`: its commits tell how far the pool is behind."""


class Variant(Section):
    """One of the models that an experiment compares."""

    model: str
    """The name of its pool."""
    weight: Weight
    """Its share of the units is this, divided by the weights of all variants."""


class Shadow(Section):
    """A model that gets copies of requests, and whose replies go to no caller."""

    model: str
    """The name of its pool."""
    share: Share
    """Of the units: which are copied is as sticky as which variant they have."""


class Overflow(Section):
    """Another model answers for a variant while that one's pool is behind."""

    variant: str
    """For whom."""
    model: str
    """The name of the pool that answers in its place."""
    above_s: Seconds
    """It begins when the backlog of the variant's pool takes longer than this, and the other pool's less long."""
    below_s: Seconds
    """It ends when the backlog takes less than this."""

    @model_validator(mode="after")
    def _has_hysteresis(self) -> Self:
        if self.below_s >= self.above_s:
            raise ValueError("below_s must be less than above_s, or requests would go to and fro")
        return self


class Experiment(Section):
    """A name that requests give for their model, and what answers to it."""

    unit: Literal["tenant", "user", "session"] = "user"
    """What has the same variant for as long as the weights are the same: requests of one tenant, of one `user` of the
    body, or of one session. A request without one is a unit of its own."""
    salt: str = ""
    """Another one deals all units anew."""
    variants: dict[str, Variant]
    """By name. The first is what the others are compared with."""
    shadow: Shadow | None = None
    """Who gets copies, if anyone."""
    overflow: Overflow | None = None
    """Who helps out, if anyone."""

    @field_validator("variants")
    @classmethod
    def _are_variants(cls, variants: dict[str, Variant]) -> dict[str, Variant]:
        if not variants:
            raise ValueError("an experiment has one variant at least")
        _check_names(variants, "a variant")
        models = [variant.model for variant in variants.values()]
        if twice := sorted({name for name in models if models.count(name) > 1}):
            raise ValueError(
                f"two variants have the model {twice[0]!r}, and would share its cache: "
                "give the second pool another model.served_name"
            )
        return variants

    @model_validator(mode="after")
    def _overflow_fits(self) -> Self:
        if self.overflow is None:
            return self
        if self.overflow.variant not in self.variants:
            raise ValueError(f"overflow.variant names {self.overflow.variant!r}, which is none of the variants")
        if self.variants[self.overflow.variant].model == self.overflow.model:
            raise ValueError(f"overflow.model is {self.overflow.model!r}, the variant's own")
        return self

    @property
    def weights(self) -> dict[str, float]:
        return {name: variant.weight for name, variant in self.variants.items()}

    @property
    def models(self) -> set[str]:
        """Every pool that this experiment sends to."""
        others = (part.model for part in (self.shadow, self.overflow) if part is not None)
        return {*chain((variant.model for variant in self.variants.values()), others)}


class RoutingSettings(Section):
    """Which pool answers a request: `pelton ab route` reads `kafka.request_topics` and sends each one on."""

    default: str | None = None
    """The experiment or the pool of requests for `default`. Those for a model that nobody serves go there too, and are
    refused there. Unset, the first pool."""
    pools: dict[str, Pool] = Field(default={})
    """By the name of the model that their workers serve (`model.served_name`)."""
    experiments: dict[str, Experiment] = Field(default={})
    """By the name that requests give for their model."""
    shadow_topic: Topic = contract.SHADOW_TOPIC
    """Where replies to copies go; it must be among the workers' `kafka.reply_topics_allowed`."""
    look_interval_s: Seconds = 5.0
    """How often the pools' backlogs are looked at, where an experiment has an overflow."""
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] | None = None
    """Serves the router's metrics; unset: not at all."""
    metrics_host: str = "127.0.0.1"
    """The address that they are served on."""

    @field_validator("experiments")
    @classmethod
    def _are_experiments(cls, experiments: dict[str, Experiment]) -> dict[str, Experiment]:
        _check_names(experiments, "an experiment")
        return experiments

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        if both := sorted(self.pools.keys() & self.experiments.keys()):
            raise ValueError(f"{both[0]!r} names a pool and an experiment: requests could mean either")
        for name, experiment in self.experiments.items():
            if unknown := sorted(experiment.models - self.pools.keys()):
                raise ValueError(f"experiment {name!r} names the model {unknown[0]!r}, which has no entry in pools")
        if self.default is not None and self.default not in {*self.pools, *self.experiments}:
            raise ValueError(f"default names {self.default!r}, which is neither a pool nor an experiment")
        topics = list(chain.from_iterable(pool_topics(pool) for pool in self.pools.values()))
        if twice := sorted({topic for topic in topics if topics.count(topic) > 1}):
            raise ValueError(f"two pools read {twice[0]!r}: each model has topics of its own")
        return self


def pool_topics(pool: Pool) -> tuple[str, ...]:
    """What a pool's workers read."""
    return (pool.topic,) if pool.interactive_topic is None else (pool.topic, pool.interactive_topic)


def _check_names(names: dict[str, Variant] | dict[str, Experiment], kind: str) -> None:
    if bad := [name for name in names if not re.fullmatch(NAME, name)]:
        raise ValueError(f"{bad[0]!r} cannot be {kind}: 1 to 64 letters, digits or any of . _ -")
    if "default" in names:
        raise ValueError("'default' is what requests say that name no model: choose another name")
