"""The end of a batch: its files, what is left of the work on it, and the webhook."""

import asyncio
import logging
from pathlib import Path
from typing import Any

from pelton.pipeline.settings.webhook import WebhookSettings
from pelton.producers.batch.file import LineFault
from pelton.producers.batch.results import RunNames
from pelton.producers.errors import WebhookFailed
from pelton.producers.http.batches.documents import Status
from pelton.producers.http.batches.output import Outputs, written_outputs
from pelton.producers.http.batches.spool import Spool
from pelton.producers.http.batches.state import BatchState
from pelton.producers.http.file_store import FileStore
from pelton.producers.webhook import WebhookSender, batch_event, tell

log = logging.getLogger(__name__)

_MISSING = {
    Status.COMPLETED: LineFault("internal_error", "This request has no result."),
    Status.CANCELLED: LineFault("batch_cancelled", "This request was not carried out: the batch was cancelled."),
    Status.EXPIRED: LineFault("batch_expired", "This request was not carried out in the batch's completion window."),
}


class BatchEnding:
    """Each step may be done again by another owner and comes to the same."""

    def __init__(self, state: BatchState, store: FileStore, webhook: WebhookSettings) -> None:
        self._state = state
        self._order = state.order
        self._store = store
        self._webhook = webhook

    async def finalize(self, source: Path, spool: Spool, names: RunNames) -> None:
        """Store both files, then tell of the end. Raises `KafkaError`, `OSError` or `BatchError`."""
        progress = self._state.progress
        outcome = progress.outcome or Status.COMPLETED
        written = written_outputs(source, spool, names, _MISSING[outcome])
        outputs = await asyncio.to_thread(written.__enter__)
        try:
            await asyncio.to_thread(self._store_outputs, outputs)
        finally:
            await asyncio.to_thread(written.__exit__, None, None, None)
        await self.end(
            outcome,
            answered=outputs.answered,
            failed=outputs.failed,
            output_file_id=progress.output_file_id if outputs.answered else None,
            error_file_id=progress.error_file_id if outputs.failed else None,
        )

    async def end(self, status: Status, **changes: Any) -> None:
        """Raises `KafkaError`."""
        await self._state.advance(status, untold=self._webhook.url is not None, **changes)
        progress = self._state.progress
        log.info(
            "batch %s: %s, %d answered, %d failed of %d",
            self._order.id, status, progress.answered, progress.failed, progress.requests,
        )  # fmt: skip

    async def clear(self) -> None:
        """Leave nothing of an ended batch in the storage but its files. Raises `KafkaError` or `OSError`."""
        await asyncio.to_thread(self._store.drop_parts, self._order.id)
        await self._state.write(cleared=True)

    async def tell(self) -> None:
        """Tell the webhook of the end, or give it up. After a crash it is told again, under the same id."""
        progress = self._state.progress
        counts = {"total": progress.requests, "completed": progress.answered, "failed": progress.failed}
        ended_at = progress.times.get(progress.status.value, self._order.created_at)
        event = batch_event(self._order.id, progress.status, ended_at, counts)
        try:
            await tell(WebhookSender(self._webhook), event, self._webhook.patience_s)
        except WebhookFailed as error:
            log.error("batch %s: its end is not told: %s", self._order.id, error)  # noqa: TRY400  # the error says all
        await self._state.write(untold=False)

    def _store_outputs(self, outputs: Outputs) -> None:
        progress = self._state.progress
        named = (
            (outputs.answers, progress.output_file_id, outputs.answered, "output"),
            (outputs.errors, progress.error_file_id, outputs.failed, "error"),
        )
        for path, file_id, lines, kind in named:
            if lines and file_id is not None:
                with path.open("rb") as content:
                    filename = f"{self._order.id}_{kind}.jsonl"
                    self._store.put(self._order.tenant, file_id, content, filename=filename, purpose="batch_output")
