"""The jobs of one partition, and what is to be done when something happens to them. Touches no socket and no clock.

Everything that must survive a crash is in the `Outbox` that `take()` gives out: it is committed in one transaction with
the positions of what was read. A board is made anew from Kafka after any failure: jobs without a result are read again,
and the states of their sections tell which were sent and which are finished. So a section is sent again only
when its reply was an error or never came.
"""

import logging
from collections.abc import Callable

import orjson

from pelton.producers.errors import ReplyError
from pelton.producers.replies import Reply
from pelton.producers.reports.assembly.report import JobState
from pelton.producers.reports.errors import PromptUnusable, ReportError
from pelton.producers.reports.planning.plan import Node, Plan, Request
from pelton.producers.reports.service.drafts import best_draft, wants_revision
from pelton.producers.reports.service.job_run import Finished, JobRun, Submission, early_status
from pelton.producers.reports.service.provenance import draft_of
from pelton.producers.reports.service.records import JobResult, Outbox, SectionRequest, SectionState
from pelton.producers.reports.service.report_building import build_report, failed_report
from pelton.producers.reports.service.section_store import SectionStore
from pelton.producers.reports.spec.model import JobSpec

log = logging.getLogger(__name__)

INTERNAL = "internal_error"
_INTERNAL_MESSAGE = "The service failed on this job; its log says how."

RETRY_FIRST_MS = 500
RETRY_MOST_MS = 30_000
"""The wait before a failed section is sent again: it doubles with each failure."""
MAX_CANCELS = 100_000
"""Remembered for jobs that have not been read yet, the newest."""
REPLY_GRACE_MS = 60_000
"""How long after its deadline a request's reply may still be on its way."""

_TRANSIENT = 500
"""Errors of this HTTP status and above may not come again; others would."""


class Board:
    """`timeout_ms` is how long a section may take until it is answered; `now_ms` gives Unix milliseconds.

    A job with a request of more than `max_request_bytes` ends: Kafka would refuse it with all that goes out beside it.
    A report of more than `max_result_bytes` goes without its tables and prompts.
    """

    def __init__(
        self,
        store: SectionStore,
        timeout_ms: int,
        now_ms: Callable[[], int],
        *,
        max_request_bytes: int,
        max_result_bytes: int,
    ) -> None:
        self._store = store
        self._timeout_ms = timeout_ms
        self._now_ms = now_ms
        self._max_request_bytes = max_request_bytes
        self._max_result_bytes = max_result_bytes
        self._runs: dict[int, JobRun] = {}
        self._waiting: dict[str, list[JobRun]] = {}
        self._cancelled: dict[str, int] = {}
        self._outbox = Outbox()

    @property
    def jobs(self) -> int:
        return len(self._runs)

    @property
    def source_bytes(self) -> int:
        """Of the sources of jobs under way."""
        return sum(run.submission.size for run in self._runs.values())

    def take(self) -> Outbox:
        """What is to be committed since the last call."""
        taken, self._outbox = self._outbox, Outbox()
        return taken

    def admit(self, submission: Submission, job: JobSpec | ReportError) -> None:
        """Begin a job. One that cannot be planned, or was cancelled before, ends at once."""
        if submission.created_ms <= self._cancelled.get(submission.job_id, -1):
            self._end_early(submission, job, JobState.CANCELLED, "cancelled", "The job was cancelled.")
            return
        if isinstance(job, ReportError):
            self._end_early(submission, job, JobState.FAILED, job.code, str(job))
            return
        try:
            run = JobRun(submission, Plan(job, submission.tenant))
        except ReportError as error:
            self._end_early(submission, job, JobState.FAILED, error.code, str(error))
            return
        except Exception:
            log.exception("job %s cannot be planned", submission.job_id)
            self._end_early(submission, job, JobState.FAILED, INTERNAL, _INTERNAL_MESSAGE)
            return
        self._runs[submission.offset] = run
        self._advance(run)

    def cancel(self, job_id: str, asked_ms: int) -> None:
        """End what was submitted under that id up to then, now or when it is admitted."""
        self._cancelled[job_id] = max(asked_ms, self._cancelled.pop(job_id, 0))
        while len(self._cancelled) > MAX_CANCELS:
            del self._cancelled[next(iter(self._cancelled))]
        for run in list(self._runs.values()):
            if run.submission.job_id == job_id and run.submission.created_ms <= asked_ms:
                self._end(run, JobState.CANCELLED, "cancelled", "The job was cancelled.")

    def reply(self, reply: Reply) -> None:
        """Take in a reply. One that was taken in before, or belongs to nobody, changes nothing."""
        correlation_id = reply.correlation_id.decode(errors="replace")
        fingerprint, _, attempt = correlation_id.rpartition(".")
        state = self._store.get(fingerprint)
        if state is None or not state.pending or str(state.attempt) != attempt:
            return
        runs = self._waiting.pop(correlation_id, [])
        try:
            state = state.written(draft_of(reply, state.attempt))
        except ReplyError as error:
            self._failed(fingerprint, state, correlation_id, runs, error)
            return
        self._put(fingerprint, state)
        for run in runs:
            del run.waiting[correlation_id]
            self._advance(run)

    def tick(self) -> None:
        """Give up what should have been answered long ago, and send again what has failed and rested."""
        now = self._now_ms()
        for run in [run for run in self._runs.values() if run.wake(now)]:
            self._advance(run)
        for correlation_id, runs in list(self._waiting.items()):
            fingerprint, _, _ = correlation_id.rpartition(".")
            state = self._store.get(fingerprint)
            if state is None or now > state.sent_ms + self._timeout_ms + REPLY_GRACE_MS:
                del self._waiting[correlation_id]
                missing = ReplyError("no worker answered in time", code="deadline_exceeded", param=None, body={})
                self._failed(fingerprint, state or SectionState(), correlation_id, runs, missing)

    def _advance(self, run: JobRun) -> None:
        """Take up or send whatever is ready; finish the job when nothing is left.

        A fault in this code, on a text that nobody foresaw, ends this job and no other.
        """
        try:
            while ready := list(run.ready()):
                for node in ready:
                    self._start(run, node)
            if run.complete:
                self._finish(run)
            else:
                self._outbox.status[run.submission.job_id] = run.status(JobState.RUNNING, self._now_ms())
        except ReportError as error:
            self._end(run, JobState.FAILED, error.code, str(error))
        except Exception:
            log.exception("job %s cannot go on", run.submission.job_id)
            self._end(run, JobState.FAILED, INTERNAL, _INTERNAL_MESSAGE)

    def _start(self, run: JobRun, node: Node) -> None:
        """Use the node's text where it is there, wait where it was asked for, else ask."""
        request = run.plan.request(node.id, run.texts(node))
        state = self._store.get(request.fingerprint) or SectionState()
        best = best_draft(run.plan, node, state.drafts)
        if best is not None and not wants_revision(run.plan, best[0], state.drafts):
            outcome, draft = best
            run.finished[node.id] = Finished(outcome, draft, request, revised=len(state.drafts) > 1)
            return
        if not state.pending:
            state = state.sent(self._now_ms())
            sent = request
            if best is not None:
                outcome, draft = best
                sent = run.plan.revision(node.id, request, draft.text, outcome)
            self._send(run, request.fingerprint, state, sent)
        correlation_id = f"{request.fingerprint}.{state.attempt}"
        run.waiting[correlation_id] = node.id
        self._waiting.setdefault(correlation_id, []).append(run)

    def _send(self, run: JobRun, fingerprint: str, state: SectionState, request: Request) -> None:
        size = len(orjson.dumps(request.body))
        if size > self._max_request_bytes:
            raise PromptUnusable(
                f"A request has {size:,} bytes, over the {self._max_request_bytes:,} that the request topic takes: "
                "lower model.max_prompt_chars, or have the topic's max.message.bytes raised."
            )
        deadline_ms = state.sent_ms + self._timeout_ms
        correlation_id = f"{fingerprint}.{state.attempt}"
        whose = run.submission
        self._outbox.requests.append(
            SectionRequest(correlation_id, request.body, deadline_ms, whose.tenant, whose.job_id)
        )
        self._put(fingerprint, state)

    def _failed(
        self, fingerprint: str, state: SectionState, correlation_id: str, runs: list[JobRun], error: ReplyError
    ) -> None:
        """Send again within the bound of the most patient job, else end the jobs that wait."""
        most = max((run.plan.job.max_attempts for run in runs), default=0)
        again = error.code == "cancelled" or error.status >= _TRANSIENT or error.code == "deadline_exceeded"
        final = not again or state.tries >= most
        self._put(fingerprint, state.failed(finally_=final))
        for run in runs:
            node_id = run.waiting.pop(correlation_id)
            if final:
                tried = f" after {state.tries} attempts" if state.tries > 1 else ""
                message = f"Section {node_id!r} was not answered{tried}: {error.message}"
                self._end(run, JobState.FAILED, error.code or "section_failed", message)
            else:
                run.resting[node_id] = self._now_ms() + min(RETRY_FIRST_MS << (state.tries - 1), RETRY_MOST_MS)
                self._advance(run)

    def _finish(self, run: JobRun) -> None:
        now = self._now_ms()
        report = build_report(run, now)
        value = report.encode()
        if len(value) > self._max_result_bytes:
            value = report.without_tables().encode()
        if len(value) > self._max_result_bytes:
            message = f"The report has {len(value):,} bytes, over the {self._max_result_bytes:,} of the results topic."
            self._end(run, JobState.FAILED, "result_too_large", message)
            return
        self._outbox.status[run.submission.job_id] = run.status(JobState.DONE, now)
        self._close(run, value)

    def _end(self, run: JobRun, state: JobState, code: str, message: str) -> None:
        now = self._now_ms()
        for correlation_id in list(run.waiting):
            others = [other for other in self._waiting.get(correlation_id, []) if other is not run]
            if others:
                self._waiting[correlation_id] = others
            elif self._waiting.pop(correlation_id, None) is not None:
                self._outbox.cancels.append((run.submission.tenant, correlation_id))
        run.waiting.clear()
        self._outbox.status[run.submission.job_id] = run.status(state, now, message)
        value = failed_report(run.submission, run.plan.job, state, code, message, now).encode()
        self._close(run, value)

    def _close(self, run: JobRun, value: bytes) -> None:
        submission = run.submission
        del self._runs[submission.offset]
        self._outbox.results.append(JobResult(submission.job_id, submission.correlation_id, value))
        self._outbox.answered.append(submission.offset)

    def _end_early(
        self, submission: Submission, job: JobSpec | ReportError, state: JobState, code: str, message: str
    ) -> None:
        spec = None if isinstance(job, ReportError) else job
        value = failed_report(submission, spec, state, code, message, self._now_ms()).encode()
        status = early_status(submission, spec, state, self._now_ms(), message)
        self._outbox.status[submission.job_id] = status
        self._outbox.results.append(JobResult(submission.job_id, submission.correlation_id, value))
        self._outbox.answered.append(submission.offset)

    def _put(self, fingerprint: str, state: SectionState) -> None:
        self._store.put(fingerprint, state)
        self._outbox.sections[fingerprint] = state
