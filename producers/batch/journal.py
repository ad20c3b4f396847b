"""The journal of a batch: what Kafka has acknowledged, and how far its replies are in the output file.

It lies beside the output (`out.jsonl.journal`) and is only appended to. First the header: which input, which cluster,
where on the topics the run began. Then, as they happen:

    {"line": 7, "partition": 3, "offset": 41}     line 7 of the input is stored in Kafka, there
    {"results": 5, "replies": 1203}               the first 5 results in the output are all there was below offset 1203

Acknowledgements of one partition are written in the order of their offsets: whatever of this run lies on a partition
below its highest journaled offset is journaled too.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from pelton.producers.batch.append_only_file import AppendOnlyFile
from pelton.producers.batch.file import InputSummary
from pelton.producers.errors import BatchError
from pelton.producers.kafka.request_sender import Acknowledged

SUFFIX = ".journal"


class Header(BaseModel):
    """Where a run began. Offsets are those of the next record, at the time, by partition."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pelton_journal: Literal[1] = 1
    run_id: str
    input_sha256: str
    cluster_id: str
    request_topic: str
    request_offsets: dict[int, int]
    reply_topic: str
    reply_partition: int
    reply_offset: int


@dataclass(slots=True)
class Record:
    """What a journal records. `sent` has one byte a line of the input, by line number; checkpoints are ascending."""

    header: Header
    sent: bytearray
    next_offsets: dict[int, int]
    checkpoints: list[tuple[int, int]] = field(default_factory=list)

    def replies_from(self, results: int) -> int:
        """Where to read on in the replies when the output has `results` lines (of which a crash may have cut some)."""
        fitting = [offset for count, offset in self.checkpoints if count <= results]
        return fitting[-1] if fitting else self.header.reply_offset


class Journal(AppendOnlyFile):
    """The journal of the output file `out`. Raises `BatchError` when it cannot be opened, or is in use."""

    def __init__(self, out: Path) -> None:
        super().__init__(out.with_name(out.name + SUFFIX), begins=b'{"pelton_journal":')

    def close(self) -> None:
        """A run that never began leaves no journal."""
        self.remove_if_unused()
        super().close()

    def load(self, content: InputSummary) -> Record | None:
        """Read it all; None for an empty one. Raises `BatchError`, also when it is not of the input with `content`."""
        entries = self.entries()
        first = next(entries, None)
        if first is None:
            return None
        try:
            header = Header.model_validate(first)
            self._check_input(header, content)
            record = Record(header, bytearray(content.lines + 1), dict(header.request_offsets))
            for entry in entries:
                _apply(record, entry)
        except (ValidationError, LookupError, TypeError) as error:
            raise BatchError(
                f"{self.path} is not a journal this version can read ({type(error).__name__}). Move it and the output "
                "away to start from the beginning."
            ) from None
        return record

    def _check_input(self, header: Header, content: InputSummary) -> None:
        if header.input_sha256 != content.sha256:
            raise BatchError(
                f"{self.path} belongs to another input, or the input has changed since: choose another output, or move "
                "output and journal away to start from the beginning."
            )

    def begin(self, header: Header) -> None:
        self.append([_line(header.model_dump())])
        self.sync()

    def acknowledged(self, line: int, place: Acknowledged) -> None:
        self.append([_line({"line": line, "partition": place.partition, "offset": place.offset})])

    def checkpoint(self, results: int, replies: int) -> None:
        """All replies below offset `replies` are among the first `results` lines of the output, safely on disk."""
        self.append([_line({"results": results, "replies": replies})])


def _apply(record: Record, entry: dict[str, int]) -> None:
    if "line" in entry:
        record.sent[entry["line"]] = 1
        partition = entry["partition"]
        record.next_offsets[partition] = max(record.next_offsets.get(partition, 0), entry["offset"] + 1)
    else:
        record.checkpoints.append((entry["results"], entry["replies"]))


def _line(entry: dict[str, object]) -> bytes:
    return orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)
