"""An answer with an error in it is not taken for a group without members that has committed nothing."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from pelton.pipeline.kafka import coordinator
from pelton.pipeline.kafka.coordinator import ask_coordinator
from pelton.pipeline.kafka.group_answers import NotAnswered, committed_offsets, group_members

PLACES = [TopicPartition("requests", 0), TopicPartition("requests", 1)]
COMMITTED = {PLACES[0]: OffsetAndMetadata(7, ""), PLACES[1]: OffsetAndMetadata(-1, "")}
LOADING = 14


class Admin:
    """aiokafka's admin client, as far as it is asked of groups: gives one answer after the other."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)

    async def list_consumer_group_offsets(self, _group_id: str, *, partitions: list[TopicPartition]) -> Any:
        assert partitions == PLACES
        return self._answers.pop(0)

    async def describe_consumer_groups(self, group_ids: list[str]) -> Any:
        error_code, members = self._answers.pop(0)
        return [SimpleNamespace(groups=[(error_code, group_ids[0], "Stable", "consumer", "range", members)])]


async def test_what_is_committed_is_given_whole() -> None:
    assert await committed_offsets(Admin(COMMITTED), "group", PLACES) == COMMITTED


@pytest.mark.parametrize("answer", [{}, {PLACES[0]: OffsetAndMetadata(7, "")}])
async def test_a_partition_that_is_not_spoken_of_is_an_error(answer: Any) -> None:
    """That is how the client passes on the error of the whole answer."""
    with pytest.raises(NotAnswered, match=r"group.*requests"):
        await committed_offsets(Admin(answer), "group", PLACES)


async def test_members_are_given_with_their_clients() -> None:
    members = [("member-1", "client-1", "/127.0.0.1", b"", b"")]
    assert await group_members(Admin((0, members)), "group") == [("member-1", "client-1")]


async def test_nobody_is_only_said_to_be_there_by_who_knows() -> None:
    """A coordinator that is loading gives an error, and no members."""
    assert await group_members(Admin((0, [])), "group") == []
    with pytest.raises(NotAnswered, match="error 14"):
        await group_members(Admin((LOADING, [])), "group")


async def test_it_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the coordinator has loaded."""
    monkeypatch.setattr(coordinator, "RETRY_FIRST_S", 1e-6)
    admin = Admin({}, {}, COMMITTED)
    assert await ask_coordinator(lambda: committed_offsets(admin, "group", PLACES)) == COMMITTED
