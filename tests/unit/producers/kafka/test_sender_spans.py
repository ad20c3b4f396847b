"""The spans of requests that one transaction sends."""

from collections.abc import Sequence

import pytest

from pelton.pipeline.tracing.spans import NO_ATTRIBUTES, Attributes, TraceHeaders
from pelton.pipeline.wire.records import OutgoingRecord
from pelton.producers.kafka.sender_spans import SenderSpans

GIVEN = [("kafka_correlationId", b"a"), ("traceparent", b"theirs")]


class Spans:
    """Traces that note what becomes of each span."""

    def __init__(self) -> None:
        self.parents: list[TraceHeaders | None] = []
        self.attributes: list[Attributes] = []
        self.ended: list[str | None] = []
        self.headers = [("traceparent", b"ours")]

    def start(self, _name: str, _kind: object, attributes: Attributes, *, parent: TraceHeaders | None) -> "Spans":
        self.parents.append(parent)
        self.attributes.append(attributes)
        return self

    def end(self, *, error: str | None = None) -> None:
        self.ended.append(error)


def record(headers: Sequence[tuple[str, bytes]]) -> OutgoingRecord:
    return OutgoingRecord("requests", b"body", None, headers)


def test_spans_end_when_the_transaction_has() -> None:
    """Not before; each record carries its span's context in place of what it came with, which is the parent."""
    traces = Spans()
    spans = SenderSpans(traces, "requests")  # type: ignore[arg-type]
    with spans.sent_together([record(GIVEN), record(GIVEN[:1])], [{"pelton.job": "j"}, NO_ATTRIBUTES]) as sent:
        assert traces.ended == []
    assert traces.ended == [None, None]
    assert traces.parents == [GIVEN[1:], []]
    assert [dict(each.headers) for each in sent] == [{"kafka_correlationId": b"a", "traceparent": b"ours"}] * 2
    assert [each.get("pelton.job") for each in traces.attributes] == ["j", None]


def test_spans_end_with_the_error_of_the_transaction() -> None:
    traces = Spans()
    spans = SenderSpans(traces, "requests")  # type: ignore[arg-type]
    with pytest.raises(OSError, match="gone"), spans.sent_together([record(GIVEN)]):
        raise OSError("gone")
    assert traces.ended == ["OSError"]


def test_without_traces_records_stay_as_they_are() -> None:
    records = [record(GIVEN)]
    with SenderSpans(None, "requests").sent_together(records) as sent:
        assert sent == records
