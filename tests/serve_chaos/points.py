"""Where a server dies: before or after the so-manyth call of one of its steps."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass

BATCHES = "pelton.producers.http.batches"
STORE = "pelton.producers.http.file_store:FileStore"
PRODUCER = "aiokafka:AIOKafkaProducer"
RUN = f"{BATCHES}.run:BatchRun"
ENDING = f"{BATCHES}.ending:BatchEnding"


@dataclass(frozen=True, slots=True)
class Point:
    """`target` is `module:name` or `module:Class.name`. With `cancels` the client cancels the batch when it has begun.

    With `freezes` the process is stopped in place of killed, and goes on when another server has ended the batch.
    """

    name: str
    target: str
    call: int = 1
    after: bool = False
    cancels: bool = False
    freezes: bool = False

    @property
    def signal(self) -> signal.Signals:
        return signal.SIGSTOP if self.freezes else signal.SIGKILL


CANCELS = "pelton.producers.kafka.cancel_sender:CancelSender"

# A server's first file is the upload, the second has the answers, the third the errors; of each the content is written
# first, then the description. Its first transaction says that the input is sound.
POINTS = (
    Point("the order stored, its client waits", f"{BATCHES}.service:BatchService._send", after=True),
    Point("before the input is checked", f"{BATCHES}.run:check_input"),
    Point("checked, not told", f"{BATCHES}.writer:PartitionWriter.write"),
    Point("checked and told", f"{BATCHES}.writer:PartitionWriter.write", after=True),
    Point("the first lines sent, not committed", f"{PRODUCER}.commit_transaction", 2),
    Point("the first lines committed", f"{PRODUCER}.commit_transaction", 2, after=True),
    Point("in the middle of sending a chunk", f"{PRODUCER}.send", 200),
    Point("the fifth transaction not committed", f"{PRODUCER}.commit_transaction", 5),
    Point("the fifth transaction committed", f"{PRODUCER}.commit_transaction", 5, after=True),
    Point("the first result read", f"{BATCHES}.spool:Spool.add", after=True),
    Point("a hundred results read", f"{BATCHES}.spool:Spool.add", 100, after=True),
    Point("before results are saved", f"{STORE}.put_part"),
    Point("results stored, not told", f"{STORE}.put_part", after=True),
    Point("results stored again, not told", f"{STORE}.put_part", 2, after=True),
    Point("results saved", f"{RUN}._save_in_turn", after=True),
    Point("all results read, finalizing not told", f"{BATCHES}.run:new_file_id"),
    Point("finalizing told", f"{ENDING}.finalize"),
    Point("before the answers are stored", f"{ENDING}._store_outputs"),
    Point("the answers drafted", "fsspec.implementations.local:LocalFileSystem.mv", 3),
    Point("the answers stored, not described", f"{STORE}._write", 3, after=True),
    Point("the answers stored, the errors not", f"{STORE}.put", 2, after=True),
    Point("both files stored, the end not told", f"{STORE}.put", 3, after=True),
    Point("the end told, saved results still there", f"{STORE}.drop_parts"),
    Point("saved results dropped, not told", f"{STORE}.drop_parts", after=True),
    Point("the cancel stored, its client waits", f"{BATCHES}.service:BatchService._send", 2, True, cancels=True),
    Point("cancelled, requests not taken back", f"{CANCELS}.cancel", cancels=True),
    Point("cancelled, finalizing told", f"{ENDING}.finalize", cancels=True),
    Point("frozen with a transaction open", f"{PRODUCER}.commit_transaction", 4, freezes=True),
    Point("frozen with results stored", f"{STORE}.put_part", after=True, freezes=True),
    Point("frozen before the answers are stored", f"{ENDING}._store_outputs", freezes=True),
    Point("frozen before the end is told", f"{STORE}.put", 3, after=True, freezes=True),
)
"""In the order of a batch's life."""


def chosen(numbers: list[int]) -> Iterator[Point]:
    """The points of these numbers, counted from 1; all where there are none."""
    for number, point in enumerate(POINTS, start=1):
        if not numbers or number in numbers:
            yield point
