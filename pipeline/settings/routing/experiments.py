"""Settings of experiments: the models that are compared, who gets copies, who helps out."""

import re
from collections.abc import Collection
from itertools import chain
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from pelton.pipeline.settings.section import Seconds, Section
from pelton.pipeline.wire.routed import NAME

Weight = Annotated[float, Field(gt=0, le=1_000_000)]
Share = Annotated[float, Field(gt=0, le=1)]


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
        check_names(variants, "a variant")
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


def check_names(names: Collection[str], kind: str) -> None:
    """Raises `ValueError` for one that no header could hold."""
    if bad := [name for name in names if not re.fullmatch(NAME, name)]:
        raise ValueError(f"{bad[0]!r} cannot be {kind}: 1 to 64 letters, digits or any of . _ -")
    if "default" in names:
        raise ValueError("'default' is what requests say that name no model: choose another name")
