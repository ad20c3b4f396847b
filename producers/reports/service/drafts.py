"""Which of a section's drafts the report has, and whether it takes another."""

from collections.abc import Sequence

from pelton.producers.reports.planning.outcome import Outcome
from pelton.producers.reports.planning.plan import Node, Plan
from pelton.producers.reports.service.records import Draft

MAX_DRAFTS = 2
"""A text with faults is written again once."""


def best_draft(plan: Plan, node: Node, drafts: Sequence[Draft]) -> tuple[Outcome, Draft] | None:
    """The one with fewest faults, the later of two alike; None where nothing is written."""
    judged = [(plan.judge(node.id, draft.text), draft) for draft in drafts]
    return min(reversed(judged), key=lambda one: one[0].faults) if judged else None


def wants_revision(plan: Plan, best: Outcome, drafts: Sequence[Draft]) -> bool:
    """Whether even the best has more faults than the job allows, and a better one was not asked for yet."""
    return len(drafts) < MAX_DRAFTS and best.faults > plan.job.max_unsupported
