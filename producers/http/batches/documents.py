"""What is kept of a batch in Kafka: what was asked for, whether it was cancelled, and how far it has come.

Each of the three has a key of its own on a compacted topic and one writer: the server that took the request in, the one
that was asked to cancel, and the owner of the topic's partition. So no two writers overwrite each other's word.
"""

from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any
from zlib import crc32

import orjson

ENDPOINT = "/v1/chat/completions"
WINDOW = "24h"
WINDOW_S = 86_400
CANCEL_SUFFIX = "/cancel"
STATE_SUFFIX = "/state"
KEPT_S = 30 * 86_400
"""How long a batch is listed after its end."""


class Status(StrEnum):
    """OpenAI's words."""

    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


ENDED = frozenset({Status.FAILED, Status.COMPLETED, Status.EXPIRED, Status.CANCELLED})


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked for. Times are Unix seconds."""

    id: str
    tenant: str
    input_file_id: str
    metadata: dict[str, str] | None
    created_at: int

    @property
    def expires_at(self) -> int:
        return self.created_at + WINDOW_S


@dataclass(frozen=True, slots=True)
class Fault:
    """A line of the input for which the batch was refused; `line` counts from 1, None for the file as a whole."""

    code: str
    message: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the owner has come; whoever becomes the owner next goes on from here.

    `requests` are the lines of the input that are not blank, `lines` is the last one's number. All lines up to `sent`,
    which ends at `sent_bytes`, were sent or need not be: `sent_requests` of them. The results of the replies below
    `reply_offset` are in `parts`. `outcome` is what the batch will be when it is finalized. `cleared` says that nothing
    but its files is left of an ended batch in the storage. `untold` ends are still to be told to the webhook.
    """

    status: Status = Status.VALIDATING
    requests: int = 0
    lines: int = 0
    sent: int = 0
    sent_bytes: int = 0
    sent_requests: int = 0
    reply_partition: int = 0
    reply_offset: int = 0
    parts: tuple[str, ...] = ()
    answered: int = 0
    failed: int = 0
    outcome: Status | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    faults: tuple[Fault, ...] = ()
    times: dict[str, int] = field(default_factory=dict)
    cleared: bool = False
    untold: bool = False

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def settled(self) -> bool:
        """Nothing is left to do."""
        return self.cleared and not self.untold


@dataclass(slots=True)
class Batch:
    """All that is known of a batch."""

    order: Order
    progress: Progress = Progress()
    cancelled_at: int | None = None

    @property
    def status(self) -> Status:
        running = self.progress.status in {Status.VALIDATING, Status.IN_PROGRESS}
        return Status.CANCELLING if running and self.cancelled_at is not None else self.progress.status

    def body(self) -> dict[str, Any]:
        """OpenAI's batch object."""
        progress, times = self.progress, self.progress.times
        faults = [{"code": f.code, "message": f.message, "param": None, "line": f.line} for f in progress.faults]
        return {
            "id": self.order.id,
            "object": "batch",
            "endpoint": ENDPOINT,
            "errors": {"object": "list", "data": faults} if faults else None,
            "input_file_id": self.order.input_file_id,
            "completion_window": WINDOW,
            "status": self.status.value,
            "output_file_id": progress.output_file_id if progress.ended else None,
            "error_file_id": progress.error_file_id if progress.ended else None,
            "created_at": self.order.created_at,
            "expires_at": self.order.expires_at,
            "in_progress_at": times.get("in_progress"),
            "finalizing_at": times.get("finalizing"),
            "completed_at": times.get("completed"),
            "failed_at": times.get("failed"),
            "expired_at": times.get("expired"),
            "cancelling_at": self.cancelled_at,
            "cancelled_at": times.get("cancelled"),
            "request_counts": {
                "total": progress.requests,
                "completed": progress.answered,
                "failed": progress.failed,
            },
            "metadata": self.order.metadata,
        }


def partition_of(batch_id: str, partitions: int) -> int:
    """All records of a batch are on one partition: its owner is the batch's."""
    return crc32(batch_id.encode()) % partitions


def order_record(order: Order) -> tuple[bytes, bytes]:
    """Key and value."""
    return order.id.encode(), orjson.dumps(asdict(order))


def cancel_record(batch_id: str, at: int) -> tuple[bytes, bytes]:
    return f"{batch_id}{CANCEL_SUFFIX}".encode(), orjson.dumps({"at": at})


def progress_record(batch_id: str, progress: Progress) -> tuple[bytes, bytes]:
    return f"{batch_id}{STATE_SUFFIX}".encode(), orjson.dumps(asdict(progress))


def forget_records(batch_id: str) -> list[tuple[bytes, None]]:
    """Tombstones for all that is kept of a batch."""
    return [(f"{batch_id}{suffix}".encode(), None) for suffix in (STATE_SUFFIX, CANCEL_SUFFIX, "")]


def parse_order(value: bytes) -> Order:
    """Raises `ValueError`."""
    return Order(**_object(value, Order))


def parse_progress(value: bytes) -> Progress:
    """Raises `ValueError`."""
    given = _object(value, Progress)
    given["status"] = Status(given.get("status", Status.VALIDATING))
    given["outcome"] = None if given.get("outcome") is None else Status(given["outcome"])
    given["parts"] = tuple(given.get("parts", ()))
    given["faults"] = tuple(Fault(**fault) for fault in given.get("faults", ()))
    return Progress(**given)


def parse_cancel(value: bytes) -> int:
    """Raises `ValueError`."""
    return int(orjson.loads(value)["at"])


def _object(value: bytes, kind: type[Order] | type[Progress]) -> dict[str, Any]:
    """The fields that this version knows: a newer one may have written more."""
    given = orjson.loads(value)
    if not isinstance(given, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004  # one kind of error for whatever is wrong with a record
    return {f.name: given[f.name] for f in fields(kind) if f.name in given}
