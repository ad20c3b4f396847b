"""Settings of the router: pools of workers, each with its model, and the experiments between them."""

from itertools import chain
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from pelton.pipeline.settings.routing.experiments import Experiment, check_names
from pelton.pipeline.settings.section import Seconds, Section, Topic
from pelton.pipeline.wire import contract


class Pool(Section):
    """Workers that serve one model: one group, on topics of its own."""

    topic: Topic
    """What the pool's workers read: one of their `kafka.request_topics`."""
    interactive_topic: Topic | None = None
    """Where interactive requests go, one of their `kafka.interactive_topics`; unset, to `topic`."""
    group_id: str
    """Their `kafka.group_id`: its commits tell how far the pool is behind."""


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
        check_names(experiments, "an experiment")
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
