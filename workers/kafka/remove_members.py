"""Tells the broker that a group member is dead, so that its partitions move now and not after a session time-out."""

import logging
from contextlib import AsyncExitStack
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, NoError, for_code
from aiokafka.protocol.group import LeaveGroupRequest

from pelton.pipeline.kafka.clients import close_client, start_client
from pelton.pipeline.kafka.group_answers import group_members
from pelton.pipeline.settings.kafka import KafkaSettings

log = logging.getLogger(__name__)


async def remove_members(kafka: KafkaSettings, client_id: str) -> int:
    """Take every member with this client id, whose process must have ended, out of the group; returns how many.

    Raises `KafkaError`, `OSError` or `TimeoutError`; then the session time-out does it.
    """
    admin = AIOKafkaAdminClient(**kafka.client_options())
    client = AIOKafkaClient(**kafka.client_options())
    async with AsyncExitStack() as opened:
        opened.push_async_callback(close_client, admin)
        opened.push_async_callback(close_client, client)
        await start_client(admin)
        await client.bootstrap()
        coordinator = await admin.find_coordinator(kafka.group_id)
        members = await group_members(admin, kafka.group_id)
        dead = [member_id for member_id, member_client in members if member_client == client_id]
        for member_id in dead:
            await _leave(client, coordinator, kafka.group_id, member_id)
        return len(dead)


async def _leave(client: AIOKafkaClient, coordinator: int, group_id: str, member_id: str) -> None:
    response: Any = await client.send(coordinator, LeaveGroupRequest(group_id, member_id))
    error: type[KafkaError] = for_code(response.error_code)
    if error is not NoError:
        raise error(f"leaving group {group_id} for {member_id}")
