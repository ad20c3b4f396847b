"""Settings of the router: what does not fit is refused by name."""

from typing import Any

import pytest
from pydantic import ValidationError

from pelton.pipeline.settings.routing.router import RoutingSettings

POOLS = {"large": {"topic": "l", "group_id": "gl"}, "small": {"topic": "s", "group_id": "gs"}}
VARIANTS = {"now": {"model": "large", "weight": 9}, "new": {"model": "small", "weight": 1}}


def made(**experiment: Any) -> RoutingSettings:
    return RoutingSettings(pools=POOLS, experiments={"reports": {"variants": VARIANTS, **experiment}})


def test_an_experiment_is_read() -> None:
    found = made(unit="tenant", salt="x").experiments["reports"]
    assert found.weights == {"now": 9, "new": 1}
    assert found.models == {"large", "small"}


@pytest.mark.parametrize(
    ("experiment", "told"),
    [
        ({"variants": {}}, "at least"),
        ({"variants": {"a": {"model": "large", "weight": 0}}}, "weight"),
        ({"variants": {"a": {"model": "large", "weight": -1}}}, "weight"),
        ({"variants": {"a": {"model": "none", "weight": 1}}}, "'none'"),
        ({"variants": {"a/b": {"model": "large", "weight": 1}}}, "'a/b'"),
        ({"variants": {"a": {"model": "large", "weight": 1}, "b": {"model": "large", "weight": 1}}}, "served_name"),
        ({"unit": "colour"}, "unit"),
        ({"shadow": {"model": "none", "share": 0.5}}, "'none'"),
        ({"shadow": {"model": "small", "share": 1.5}}, "share"),
        ({"overflow": {"variant": "now", "model": "small", "above_s": 5, "below_s": 5}}, "below_s"),
        ({"overflow": {"variant": "old", "model": "small", "above_s": 9, "below_s": 5}}, "'old'"),
        ({"overflow": {"variant": "now", "model": "large", "above_s": 9, "below_s": 5}}, "own"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_by_name(experiment: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        made(**experiment)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"default": "none"}, "'none'"),
        ({"experiments": {"large": {"variants": VARIANTS}}}, "either"),
        ({"experiments": {"default": {"variants": VARIANTS}}}, "another name"),
        ({"pools": {**POOLS, "third": {"topic": "l", "group_id": "g3"}}}, "two pools"),
    ],
    ids=str,
)
def test_names_mean_one_thing(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        RoutingSettings(**{"pools": POOLS, **settings})
