"""What the coordinator of a consumer group answers, errors included.

aiokafka's admin client drops the error that an answer has as a whole. What is left of it looks like a group that has
no members and has committed nothing, as it does for a moment whenever a coordinator is loading.
"""

from collections.abc import Mapping, Sequence
from typing import Any


class NotAnswered(ConnectionError):
    """The coordinator did not say: it may be loading, or no longer be the group's."""


async def committed_offsets(admin: Any, group_id: str, partitions: Sequence[Any]) -> Mapping[Any, Any]:
    """What is committed of each partition, offset -1 where nothing is. Raises `KafkaError`, or `NotAnswered`."""
    found: Mapping[Any, Any] = await admin.list_consumer_group_offsets(group_id, partitions=list(partitions))
    if missing := [partition for partition in partitions if partition not in found]:
        raise NotAnswered(f"the coordinator of group {group_id} did not say what is committed of {missing[0]}")
    return found


async def group_members(admin: Any, group_id: str) -> list[tuple[str, str]]:
    """The member id and the client id of each. Raises `KafkaError`, or `NotAnswered`."""
    answers: list[Any] = await admin.describe_consumer_groups([group_id])
    error_code, _, _, _, _, members, *_ = answers[0].groups[0]
    if error_code:
        raise NotAnswered(f"the coordinator of group {group_id} did not say who is in it (error {error_code})")
    return [(member_id, client_id) for member_id, client_id, *_ in members]
