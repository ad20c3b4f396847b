"""The measurements, each with what it must show."""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.fairness.simulation import Machine, Outcome, Request, Run, Worker
from benchmarks.fairness.traffic import TraceFile, azure_like

MACHINE = Machine()


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure and whether it is what it must be; None where nothing is asked of it."""

    what: str
    value: float
    unit: str
    bound: str = ""
    holds: bool | None = None


def simulate(
    requests: Sequence[Request],
    *,
    fair: bool,
    machine: Machine = MACHINE,
    end_s: float | None = None,
    refuses_late: bool = False,
) -> Run:
    return Worker(machine, requests, fair=fair, refuses_late=refuses_late).until(end_s)


def flood(batch: int = 10_000, seconds: float = 120.0) -> list[Figure]:
    """A batch flood that lies there from the beginning, and one interactive request a second."""
    queued = [Request(0.0, 64, 64, tenant="batch") for _ in range(batch)]
    draw = random.Random(1)
    people = [Request(second + draw.random(), 200, 50, "person", priority=1) for second in range(1, int(seconds))]
    both = simulate([*queued, *people], fair=True, end_s=seconds)
    alone = simulate(queued, fair=True, end_s=seconds)
    waits = sorted(each.steps_waited for each in both.outcomes if each.request.priority and each.begun_at)
    share = both.by_tenant["batch"] / alone.by_tenant["batch"]
    plain = simulate([*queued, *people], fair=False, end_s=seconds)
    begun = [each for each in plain.outcomes if each.request.priority and each.begun_at is not None]
    longest = percentile(waits, 0.99)
    return [
        Figure("interactive wait in the line, p99", longest, "steps", "<= 2", longest <= 2),
        Figure("interactive requests answered", len(waits), "of " + str(len(people))),
        Figure("batch throughput, of alone", share, "", ">= 0.9", share >= 0.9),
        Figure("batch answers that stood back", both.preemptions, "times"),
        Figure("first come, first served: interactive requests begun", len(begun), "of " + str(len(people))),
    ]


def two_tenants() -> list[Figure]:
    """One sends twenty times as much; all of it waits when they begin."""
    draw = random.Random(2)
    greedy = [Request(0.0, draw.randint(20, 200), draw.randint(20, 120), "greedy") for _ in range(1_000)]
    modest = [Request(0.0, draw.randint(20, 200), draw.randint(20, 120), "modest") for _ in range(50)]
    machine = Machine(line=3_000)
    worker = Worker(machine, [*greedy, *modest], fair=True)
    while any(each.tenant == "modest" for each in (*worker.waiting, *worker.unseen)):
        worker.until(worker.run.seconds + 0.1)
    given = dict(worker.run.by_tenant)
    share = given["modest"] / sum(given.values())
    return [Figure("tokens of the one that sends less, while both wait", share, "", "0.45-0.55", 0.45 <= share <= 0.55)]


def many_tenants(tenants: int = 100, seconds: float = 60.0) -> list[Figure]:
    """Load by Zipf's law, half as much again as there is room for; what each was given beside its max-min fair part."""
    draw = random.Random(3)
    weights = [1 / rank for rank in range(1, tenants + 1)]
    machine = Machine(line=100_000)
    requests: list[Request] = []
    now = 0.0
    while now < seconds:
        now += draw.expovariate(30.0)
        [tenant] = draw.choices(range(tenants), weights)
        requests.append(Request(now, draw.randint(20, 200), draw.randint(20, 120), f"t{tenant}"))
    figures: list[Figure] = []
    runs = {fair: simulate(requests, fair=fair, machine=machine, end_s=seconds) for fair in (True, False)}
    for fair, run in runs.items():
        index = jain(_parts(run, requests))
        name = "Jain's index, 100 tenants" if fair else "Jain's index, first come, first served"
        figures.append(Figure(name, index, "", ">= 0.95" if fair else "", index >= 0.95 if fair else None))
    fair_run, plain = runs[True], runs[False]
    ordering = fair_run.ordering_s / (fair_run.seconds + fair_run.ordering_s)
    lost = max(0.0, 1 - fair_run.tokens_per_s / plain.tokens_per_s)
    figures += [
        Figure("tokens/s lost to the order chosen", lost, ""),
        Figure("time lost to choosing it", ordering, "of a step"),
        Figure("cost of fairness", lost + ordering, "", "<= 0.03", lost + ordering <= 0.03),
        Figure("waiting at the end", sum(each.begun_at is None for each in fair_run.outcomes), "requests"),
    ]
    return figures


def cancels(count: int = 1_000) -> list[Figure]:
    """So many are cancelled in the middle of their answers, as many stay."""
    draw = random.Random(4)
    stay = [Request(0.0, 100, 60, "stay") for _ in range(count)]
    cut = [Request(0.0, 100, 60, "cut", cancelled_at=draw.randint(1, 50)) for _ in range(count)]
    mixed = [each for pair in zip(stay, cut, strict=True) for each in pair]
    machine = Machine(line=10 * count)
    run, alone = simulate(mixed, fair=True, machine=machine), simulate(stay, fair=True, machine=machine)
    ended = sum(each.cut_at is not None for each in run.outcomes)
    rest = [each for each in run.outcomes if each.request.cancelled_at is None]
    # Per step and row: what the others were given while they shared the engine with those that left.
    own = run.by_tenant["stay"] / (run.by_tenant["stay"] + run.by_tenant["cut"])
    pace = run.tokens_per_s / alone.tokens_per_s
    return [
        Figure("ended by their cancel", ended, f"of {count}", "all", ended == count),
        Figure("of the others answered", sum(each.ended_at is not None for each in rest), f"of {count}", "all",
               all(each.ended_at is not None for each in rest)),
        Figure("pages back", run.pages_left, f"of {machine.pages}", "all", run.pages_left == machine.pages),
        Figure("engine's tokens/s, of without cancels", pace, "", ">= 0.95", pace >= 0.95),
        Figure("tokens of those that stayed", own, ""),
    ]  # fmt: skip


def overload(files: Sequence[TraceFile]) -> tuple[list[Figure], dict[str, list[float]]]:
    """A day's traffic at 1.2 times what the engine can do: with lanes and deadlines, with what would be late refused at
    once, and first come, first served.
    """
    requests = azure_like(files, MACHINE, load=1.2)
    figures: list[Figure] = []
    curves: dict[str, list[float]] = {}
    policies = {
        "lanes": simulate(requests, fair=True),
        "lanes, late ones refused": simulate(requests, fair=True, refuses_late=True),
        "first come, first served": simulate(requests, fair=False),
    }
    for policy, run in policies.items():
        for name, lane in (("interactive", 1), ("batch", 0)):
            mine = [each for each in run.outcomes if each.request.priority == lane]
            waits = sorted(each.begun_at - each.request.since for each in mine if each.begun_at is not None)
            curves[f"{name}, {policy}"] = waits
            figures += [
                Figure(f"{policy}: {name} wait p{part}", percentile(waits, part / 100), "s") for part in (50, 95, 99)
            ]
            figures.append(Figure(f"{policy}: {name} in time", in_time(mine), ""))
        figures.append(Figure(f"{policy}: goodput", goodput(run), "tokens/s"))
    in_time_without = {each.request for each in policies["lanes"].outcomes if _is_in_time(each)}
    refused = [each.request for each in policies["lanes, late ones refused"].outcomes if each.refused]
    wrongly = len(in_time_without.intersection(refused)) / max(1, len(refused))
    figures += [
        Figure("refused at once", len(refused), f"of {len(requests)}"),
        Figure("of these in time when none is refused", wrongly, "", "<= 0.02", wrongly <= 0.02),
    ]
    return figures, curves


def percentile(values: Sequence[float], part: float) -> float:
    return values[min(len(values) - 1, int(part * len(values)))] if values else float("nan")


def in_time(outcomes: Sequence[Outcome]) -> float:
    return sum(_is_in_time(each) for each in outcomes) / len(outcomes)


def goodput(run: Run) -> float:
    return sum(each.request.max_new_tokens for each in run.outcomes if _is_in_time(each)) / run.seconds


def jain(values: Iterable[float]) -> float:
    """Jain's index of fairness: 1 where all are equal, 1/n where one has all."""
    listed = list(values)
    return sum(listed) ** 2 / (len(listed) * sum(each**2 for each in listed))


def max_min(demands: dict[str, float], capacity: float) -> dict[str, float]:
    """Everybody's fair part: what it asks for, or as much as anybody else who asks for more."""
    parts, left, rest = {}, capacity, len(demands)
    for name, demand in sorted(demands.items(), key=lambda each: each[1]):
        parts[name] = min(demand, left / rest)
        left, rest = left - parts[name], rest - 1
    return parts


def _parts(run: Run, requests: Sequence[Request]) -> list[float]:
    demands: dict[str, float] = {}
    for request in requests:
        demands[request.tenant] = demands.get(request.tenant, 0.0) + request.tokens - 1
    fair = max_min(demands, sum(run.by_tenant.values()))
    return [run.by_tenant.get(name, 0) / part for name, part in fair.items()]


def _is_in_time(outcome: Outcome) -> bool:
    return outcome.ended_at is not None and not outcome.request.is_late(outcome.ended_at)


SCENARIOS: dict[str, Callable[[], list[Figure]]] = {
    "10,000 batch, 1 interactive a second": flood,
    "two tenants, one sends 20 times as much": two_tenants,
    "100 tenants by Zipf's law": many_tenants,
    "1,000 cancels in the middle of answers": cancels,
}
