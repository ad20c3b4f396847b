"""One attempt at a generation, on the inference thread, and what becomes of it: an answer, another one, or an error."""

import logging
import time
from dataclasses import dataclass

from pelton.pipeline import errors
from pelton.pipeline.linger_queue import LingerQueue
from pelton.pipeline.request_queue import QueuedRequest
from pelton.workers.containment import fault
from pelton.workers.engine.api import Completion, Failure, FailureKind, Outcome
from pelton.workers.inference.outcomes import error_of, missed_form
from pelton.workers.inference.retries import Retries
from pelton.workers.quarantine.crash_history import CrashHistory
from pelton.workers.requests import Delivery, FailedAttempt, Generated, TokenListener
from pelton.workers.sharing.generation import Broken, Computed, Finished, Generation

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A generation in the engine, since `started` (monotonic seconds).

    `blamed` is whose record is in the journal, at `slot`, with the crashes it is suspected of.
    """

    generation: Generation
    queued: QueuedRequest[Generation]
    blamed: Delivery
    crashes: CrashHistory
    slot: int | None
    started: float
    listener: TokenListener | None

    @property
    def number(self) -> int:
        """Which attempt this is, those that ended with their worker included."""
        return self.crashes.crashes + self.generation.attempt

    def failed(self, kind: FailureKind) -> FailedAttempt:
        """What is kept of it where it has just failed."""
        return FailedAttempt(self.started, time.monotonic(), str(kind))


class AttemptEnds:
    """Turns the engine's outcomes into results, or into another attempt where the policy of retries allows one."""

    def __init__(self, results: LingerQueue[Finished], retries: Retries) -> None:
        self._results = results
        self._retries = retries

    def take(self, attempt: Attempt, outcome: Outcome) -> None:
        """Take what the engine says of an attempt that somebody waits for."""
        try:
            if isinstance(outcome, Completion):
                self._complete(attempt, outcome)
            else:
                self._failed(attempt, outcome)
        except Exception as error:  # noqa: BLE001  # such as a schema that cannot be compared: it is this request's
            self._results.put(Broken(attempt.generation, fault(error, "end", attempt.blamed)))

    def _complete(self, attempt: Attempt, completion: Completion) -> None:
        generation, job = attempt.generation, attempt.generation.job
        generation.end(attempt.queued.prompt_tokens + completion.generated_tokens)
        missed = missed_form(job, completion)
        if missed is None:
            wait_s = attempt.started - job.delivery.fetched_at
            generated = Generated(
                job, completion, wait_s, time.monotonic(), attempt.number, tuple(generation.failed_attempts)
            )
            self._results.put(Computed(generation, generated))
        elif generation.again:
            message = "Two answers did not match the schema, parts of which no grammar can hold an answer to"
            self._results.put(Broken(generation, errors.InvalidOutput(f"{message}; {missed}."), attempt.number))
        else:
            log.info(
                "%s gets another answer, as the first did not match: %s",
                *(job.delivery.record.source, missed), extra=job.delivery.log_fields,
            )  # fmt: skip
            generation.failed_attempts.append(attempt.failed(FailureKind.INVALID_OUTPUT))
            self._retries.add(attempt.queued, otherwise=True)

    def _failed(self, attempt: Attempt, failure: Failure) -> None:
        generation = attempt.generation
        generation.failed_attempts.append(attempt.failed(failure.kind))
        if not self._retries.policy.allows(failure.kind, generation.attempt):
            self._results.put(Broken(generation, error_of(failure), attempt.number))
            return
        log.warning(
            "%s failed in attempt %d of %d and is tried again: %s",
            attempt.blamed.record.source, generation.attempt, self._retries.policy.max_attempts, failure.message,
            extra=attempt.blamed.log_fields,
        )  # fmt: skip
        self._retries.add(attempt.queued)
