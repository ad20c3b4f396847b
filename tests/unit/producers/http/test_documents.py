"""What Kafka holds of a batch can be read back, by this version and by one that knows more."""

from typing import Any

import orjson
import pytest

from pelton.producers.http.batches.documents import (
    Batch,
    Fault,
    Order,
    Progress,
    Status,
    parse_order,
    parse_progress,
    progress_record,
)

ORDER = Order("batch_1", "acme", "file-1", {"a": "b"}, 1_700_000_000)


def test_progress_is_read_as_it_was_written():
    """All fields, enumerations and faults included."""
    progress = Progress(
        status=Status.FINALIZING,
        requests=10,
        sent=12,
        parts=("000000-ab",),
        outcome=Status.CANCELLED,
        output_file_id="file-o",
        faults=(Fault("empty_file", "nothing", None),),
        times={"in_progress": 5},
    )
    key, value = progress_record("batch_1", progress)
    assert key == b"batch_1/state"
    assert parse_progress(value) == progress


def test_fields_of_a_newer_version_are_passed_over():
    """Servers of two versions share the work during an upgrade."""
    order: dict[str, Any] = {"id": "batch_1", "tenant": "", "input_file_id": "f", "metadata": None, "created_at": 1}
    assert parse_order(orjson.dumps({**order, "colour": "blue"})) == Order(**order)


@pytest.mark.parametrize("value", [b"[]", b"7", b'"x"'])
def test_what_is_no_object_is_refused(value):
    """A record that somebody else wrote raises `ValueError` and nothing else."""
    with pytest.raises(ValueError, match="not a JSON object"):
        parse_progress(value)


def test_a_cancelled_batch_is_cancelling_until_it_has_ended():
    """As OpenAI's own."""
    batch = Batch(ORDER, Progress(Status.IN_PROGRESS), cancelled_at=5)
    assert batch.body()["status"] == "cancelling"
    batch.progress = Progress(Status.COMPLETED)
    assert batch.body()["status"] == "completed"


def test_output_files_show_only_when_they_are_whole():
    """Their ids are chosen before they are written."""
    unfinished = Batch(ORDER, Progress(Status.FINALIZING, output_file_id="file-o"))
    assert unfinished.body()["output_file_id"] is None
