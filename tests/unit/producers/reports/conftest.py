"""A job service without Kafka: boards over a log that survives them, and workers who answer."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from pelton.producers.replies import Reply
from pelton.producers.reports.assembly.report import Report
from pelton.producers.reports.service.board import Board
from pelton.producers.reports.service.job_run import Submission
from pelton.producers.reports.service.records import JobResult, JobStatus, SectionRequest, SectionState
from pelton.producers.reports.service.section_store import SectionStore
from pelton.producers.reports.spec.model import JobSpec

TIMEOUT_MS = 1_000_000
TABLE = "item,2019,2018\nSales,1200,1000\nCosts,700,650\n"


def job_of(sections: int = 3, *, table: str = TABLE, **fields: Any) -> JobSpec:
    """A job whose last section needs all others."""
    names = [f"s{number}" for number in range(sections)]
    body = [
        {
            "id": name,
            "title": name.title(),
            "prompt": "{{ material }} Write {{ section.title }}. {% for s in sections %}{{ s.text }}{% endfor %}",
            "figures": "off",
            "needs": names[:-1] if name == names[-1] else [],
        }
        for name in names
    ]
    given = {
        "id": "job",
        "entity": "Acme",
        "period": "2019",
        "sources": [{"name": "table", "format": "csv", "content": table}],
        "sections": body,
    }
    return JobSpec.model_validate({**given, **fields})


def completion(text: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return orjson.dumps(
        {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    )


def error(code: str) -> bytes:
    return orjson.dumps({"error": {"message": "it failed", "type": "server_error", "param": None, "code": code}})


class Shore:
    """What is committed, and a board over it. `commit` is the transaction; `crash` loses all that was not committed."""

    def __init__(self) -> None:
        self.now = 1_000
        self.jobs: dict[int, tuple[Submission, JobSpec]] = {}
        self.answered: set[int] = set()
        self.sections: dict[str, SectionState] = {}
        self.requests: list[SectionRequest] = []
        self.cancels: list[tuple[str, str]] = []
        self.status: dict[str, JobStatus] = {}
        self.results: list[JobResult] = []
        self.cancelled: dict[str, int] = {}
        self.restart()

    def restart(self) -> None:
        store = SectionStore(10_000_000)
        for fingerprint, state in self.sections.items():
            store.put(fingerprint, SectionState.decode(state.encode()))
        self.board = Board(store, TIMEOUT_MS, lambda: self.now, max_request_bytes=1_000_000, max_result_bytes=200_000)
        for job_id, asked_ms in self.cancelled.items():
            self.board.cancel(job_id, asked_ms)
        for offset, (submission, job) in self.jobs.items():
            if offset not in self.answered:
                self.board.admit(submission, job)

    def submit(self, job: JobSpec) -> Submission:
        offset = len(self.jobs)
        submission = Submission(offset, job.identity, f"run-{offset}", b"id-%d" % offset, self.now, 100)
        self.jobs[offset] = (submission, job)
        self.board.admit(submission, job)
        return submission

    def cancel(self, job_id: str) -> None:
        self.cancelled[job_id] = self.now
        self.board.cancel(job_id, self.now)

    def commit(self) -> list[SectionRequest]:
        """Commit what the board wants; return the requests that went out with it."""
        outbox = self.board.take()
        self.requests += outbox.requests
        self.cancels += outbox.cancels
        self.sections |= outbox.sections
        self.status |= outbox.status
        self.results += outbox.results
        assert self.answered.isdisjoint(outbox.answered)
        self.answered.update(outbox.answered)
        return outbox.requests

    def answer(self, request: SectionRequest, value: bytes | None = None) -> None:
        text = completion(f"answer to {request.correlation_id}") if value is None else value
        self.board.reply(Reply(request.correlation_id.encode(), text, {"pelton-cache": b"miss"}))

    def run_out(self) -> None:
        """Answer everything until nothing is sent any more, not even after a rest."""
        waiting = self.commit()
        while waiting:
            for request in waiting:
                self.answer(request)
            waiting = self.commit() or self.rest()

    def rest(self) -> list[SectionRequest]:
        """Let the longest wait before a retry pass."""
        self.now += 30_000
        self.board.tick()
        return self.commit()

    @property
    def reports(self) -> list[Report]:
        return [Report.model_validate_json(result.value) for result in self.results]


@pytest.fixture
def shore() -> Shore:
    return Shore()


@pytest.fixture
def make_shore() -> type[Shore]:
    return Shore


@pytest.fixture
def make_job() -> Callable[..., JobSpec]:
    return job_of


@pytest.fixture
def error_reply() -> Callable[[str], bytes]:
    return error


@pytest.fixture
def text_reply() -> Callable[[str], bytes]:
    return completion
