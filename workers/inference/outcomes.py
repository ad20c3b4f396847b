"""What the engine's outcomes mean for their requests."""

from pelton.pipeline import errors
from pelton.pipeline.error_codes import request_error
from pelton.workers.engine.api import Completion, Failure, FailureKind, FinishReason
from pelton.workers.requests import PreparedRequest

_ERRORS: dict[FailureKind, type[errors.ExecutionError]] = {
    FailureKind.DEADLINE: errors.DeadlineExceeded,
    FailureKind.CANCELLED: errors.Cancelled,
    FailureKind.OUT_OF_MEMORY: errors.OutOfMemory,
    FailureKind.INVALID_OUTPUT: errors.InvalidOutput,
    FailureKind.INTERNAL: errors.EngineError,
}


def error_of(failure: Failure) -> errors.PeltonError:
    if failure.kind is FailureKind.REFUSED:
        return request_error(failure.code)(failure.message, param=failure.param)
    return _ERRORS[failure.kind](failure.message)


def missed_form(job: PreparedRequest, completion: Completion) -> str | None:
    """What the form asked for misses in one of the answers; one that was cut has no form to be compared."""
    if job.form is None or job.request.stop_strings:
        return None
    whole = [each for each in completion.all if each.finish_reason is FinishReason.STOP]
    return next((missed for each in whole if (missed := job.form.fault(each.token_ids)) is not None), None)
