"""The job board: what it sends, keeps and answers, whatever happens in between."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pelton.producers.reports.assembly.report import JobState
from pelton.producers.reports.service.records import Draft, SectionState
from pelton.producers.reports.service.section_store import SectionStore


def test_sections_go_out_as_their_needs_are_met(shore, make_job):
    """Sections without needs are sent at once, one that needs them after; then there is one result."""
    shore.submit(make_job(3))
    first = shore.commit()
    assert len(first) == 2
    shore.answer(first[0])
    assert shore.commit() == []
    shore.answer(first[1])
    (last,) = shore.commit()
    assert f"answer to {first[0].correlation_id}" in last.body["messages"][-1]["content"]
    shore.answer(last)
    shore.commit()
    (report,) = shore.reports
    assert report.state is JobState.DONE
    assert [section.text for section in report.sections] == [
        f"answer to {request.correlation_id}" for request in shore.requests
    ]


def test_asked_again_nothing_is_generated(shore, make_job):
    """The same job again is answered from what is kept, with a result of its own."""
    shore.submit(make_job(4))
    shore.run_out()
    shore.submit(make_job(4))
    assert shore.commit() == []
    assert [report.run for report in shore.reports] == ["run-0", "run-1"]
    assert shore.reports[0].sections == shore.reports[1].sections


def test_a_changed_source_regenerates_what_depends_on_it(shore, make_job):
    """Sections over other sources keep their texts; those over the changed one, and what needs them, are sent."""
    job = make_job(3)
    other = job.sources[0].model_copy(update={"name": "other"})
    sections = [
        job.sections[0].model_copy(update={"sources": ("table",)}),
        job.sections[1].model_copy(update={"sources": ("other",)}),
        job.sections[2].model_copy(update={"sources": ("table",), "needs": ("s1",)}),
    ]
    job = job.model_copy(update={"sources": (job.sources[0], other), "sections": tuple(sections)})
    shore.submit(job)
    shore.run_out()
    sent = len(shore.requests)
    changed = other.model_copy(update={"content": "item,2019,2018\nSales,9,8\nCosts,7,6\n"})
    shore.submit(job.model_copy(update={"sources": (job.sources[0], changed)}))
    shore.run_out()
    again = [request.body["messages"][-1]["content"] for request in shore.requests[sent:]]
    assert len(again) == 2
    assert "Write S1" in again[0]
    assert "Write S2" in again[1]


def test_a_failed_section_is_tried_again_within_the_bound(shore, make_job, error_reply):
    """An error that may pass is retried under an id of its own, until the bound; then the job fails, and says why."""
    shore.submit(make_job(1, max_attempts=2))
    (first,) = shore.commit()
    shore.answer(first, error_reply("engine_error"))
    assert shore.commit() == []
    (second,) = shore.rest()
    assert second.correlation_id != first.correlation_id
    shore.answer(second, error_reply("engine_error"))
    assert shore.commit() == []
    (report,) = shore.reports
    assert report.state is JobState.FAILED
    assert "'s0'" in report.message
    assert "2 attempts" in report.message


def test_an_error_that_will_not_pass_ends_the_job_at_once(shore, make_job, error_reply):
    """A refused request is not sent again, and what else the job waits for is taken back."""
    shore.submit(make_job(3))
    first, second = shore.commit()
    shore.answer(first, error_reply("context_length_exceeded"))
    shore.commit()
    (report,) = shore.reports
    assert report.error["code"] == "context_length_exceeded"
    assert shore.cancels == [("", second.correlation_id)]


def test_a_cancelled_job_ends_once_and_can_be_asked_for_again(shore, make_job, error_reply):
    """A cancel ends what was submitted before it, takes its requests back, and does not touch a later submission."""
    shore.submit(make_job(2))
    (first,) = shore.commit()
    shore.now += 1
    shore.cancel("job")
    shore.commit()
    assert [report.state for report in shore.reports] == [JobState.CANCELLED]
    shore.answer(first, error_reply("cancelled"))
    shore.commit()
    shore.now += 1
    shore.submit(make_job(2))
    shore.run_out()
    assert [report.state for report in shore.reports] == [JobState.CANCELLED, JobState.DONE]


def test_a_cancel_comes_before_its_job_is_read(shore, make_job):
    """A job that was cancelled while it waited in Kafka ends without a request."""
    shore.cancelled["job"] = shore.now
    shore.restart()
    shore.submit(make_job(2))
    assert shore.commit() == []
    assert shore.reports[0].state is JobState.CANCELLED


def test_no_answer_in_time(shore, make_job):
    """A request that nobody answers is sent again after its deadline, and in the end the job fails."""
    shore.submit(make_job(1, max_attempts=2))
    shore.commit()
    shore.now += 2_000_000
    shore.board.tick()
    assert shore.commit() == []
    assert len(shore.rest()) == 1
    shore.now += 2_000_000
    shore.board.tick()
    shore.commit()
    assert shore.reports[0].error["code"] == "deadline_exceeded"


def test_a_job_that_cannot_be_planned_is_answered(shore, make_job):
    """An empty source ends the job with an error that names it."""
    shore.submit(make_job(1, table="a\n"))
    shore.commit()
    (report,) = shore.reports
    assert report.state is JobState.FAILED
    assert "'table'" in report.message
    assert shore.status["job"].state is JobState.FAILED


def test_a_fault_of_ours_ends_one_job_only(shore, make_job, monkeypatch):
    """Whatever goes wrong in judging one job's text, the others go on."""
    shore.submit(make_job(1))
    other = shore.submit(make_job(2, id="other"))
    requests = shore.commit()
    broken = shore.board._runs[0].plan
    monkeypatch.setattr(broken, "judge", lambda *_: 1 / 0)
    for request in requests:
        shore.answer(request)
    shore.run_out()
    states = {report.id: report.state for report in shore.reports}
    assert states == {"job": JobState.FAILED, other.job_id: JobState.DONE}


def test_a_request_too_large_for_its_topic(shore, make_job):
    """It ends its job, not the transaction that it would have gone out with."""
    text = "A sentence that is there to be long. " * 40_000
    job = make_job(1, model={"max_prompt_chars": 4_000_000})
    source = job.sources[0].model_copy(update={"format": "text", "content": text})
    shore.submit(job.model_copy(update={"sources": (source,)}))
    shore.submit(make_job(1, id="other"))
    assert len(shore.commit()) == 1
    assert "max_prompt_chars" in shore.reports[0].message


def test_a_report_too_large_for_its_topic(shore, make_job, text_reply):
    """It goes without its tables and prompts, and fails where that is not enough."""
    rows = "".join(f"Item {number},{'x' * 1_000},{number}\n" for number in range(199))
    shore.submit(make_job(1, table=f"item,2019,2018\n{rows}", model={"max_prompt_chars": 400_000}))
    shore.run_out()
    assert shore.reports[0].state is JobState.DONE
    assert shore.reports[0].tables == ()
    shore.submit(make_job(1, id="long"))
    (request,) = shore.commit()
    shore.answer(request, text_reply("word " * 100_000))
    shore.commit()
    assert shore.reports[1].error["code"] == "result_too_large"
    assert shore.status["long"].state is JobState.FAILED


def test_texts_are_forgotten_within_a_bound():
    """The least recently used are dropped first, and never what is sent and not answered."""
    store = SectionStore(10_000)
    store.put("sent", SectionState().sent(1))
    for number in range(100):
        store.put(f"text-{number}", SectionState().written(Draft("x" * 100, {})))
        store.get("text-0")
    assert len(store) < 10
    assert store.get("sent") is not None
    assert store.get("text-0") is not None
    assert store.get("text-99") is not None


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_crashes_cost_nothing(make_shore, make_job, error_reply, data):  # noqa: C901, PLR0912  # one story of many turns
    """Under any mix of replies, losses before the commit, repeated replies and errors, each job has one result, and no
    section is generated again after its text was committed."""
    shore = make_shore()
    texts: dict[str, str] = {}
    unanswered: list = []
    for number in range(data.draw(st.integers(1, 4), "jobs")):
        shore.submit(make_job(data.draw(st.integers(1, 5)), id=f"job-{number % 3}", max_attempts=10))
        unanswered += shore.commit()
    for _ in range(120):
        if len(shore.results) == len(shore.jobs) and not unanswered:
            break
        happening = data.draw(st.sampled_from(["answer", "answer", "answer", "error", "crash", "lose", "again"]))
        if happening == "crash":
            shore.restart()
        elif unanswered:
            request = data.draw(st.sampled_from(unanswered))
            if happening == "error":
                shore.answer(request, error_reply("engine_error"))
            else:
                shore.answer(request)
            if happening == "lose":
                shore.restart()
                continue
            if happening != "again":
                unanswered.remove(request)
        for state in shore.sections.values():
            assert len(state.drafts) <= 1
        unanswered += shore.commit()
        shore.now += 1_000
        shore.board.tick()
        unanswered += shore.commit()
        for fingerprint, state in shore.sections.items():
            if state.drafts:
                assert texts.setdefault(fingerprint, state.drafts[0].text) == state.drafts[0].text
    else:
        for request in unanswered:
            shore.answer(request)
        shore.commit()
        for request in shore.rest():
            shore.answer(request)
        shore.run_out()
    assert sorted(report.run for report in shore.reports) == sorted(f"run-{n}" for n in range(len(shore.jobs)))
    assert all(report.state is JobState.DONE for report in shore.reports)
    ids = [request.correlation_id for request in shore.requests]
    assert len(ids) == len(set(ids))
