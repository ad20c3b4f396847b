"""How long endings gather before they are published."""

from pipeline.contract import CacheOutcome
from pipeline.errors import Cancelled
from pipeline.waiting import WaitingLine
from tests.unit.flights import ANSWER, BODY, place, ticket_of
from workers.engine.api import Completion, FinishReason
from workers.jobs import Answered, Job, Recalled, Refused
from workers.publisher import BACKLOG_INTERVALS, Patience


async def test_only_answers_wait_longer_and_only_under_a_backlog():
    """A generated answer waits ten flush intervals while others wait for the engine; a hit or a refusal never does."""
    line: WaitingLine[Job] = WaitingLine(max_tokens=100, max_requests=10)
    patience = Patience(line, 0.05)
    one = place()
    completion = Completion(request_id=0, token_ids=(1,), finish_reason=FinishReason.STOP, prefill_s=0.0, decode_s=0.0)
    answered = Answered(one.item, completion, 0.0, 0.0)
    others = [
        Recalled(ticket_of(one), ANSWER, BODY, CacheOutcome.HIT_LOCAL),
        Refused(ticket_of(one), Cancelled("by its client")),
    ]
    assert [patience(ending) for ending in (answered, *others)] == [0.05] * 3
    await line.put(place(1))
    assert patience(answered) == BACKLOG_INTERVALS * 0.05
    assert [patience(ending) for ending in others] == [0.05] * 2
