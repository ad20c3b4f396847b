"""One generation, and the requests that wait for it."""

from dataclasses import dataclass, field

from pelton.pipeline.request_queue import QueuedRequest
from pelton.pipeline.wire.contract import CacheOutcome
from pelton.workers.requests import CacheHit, Delivery, Duplicate, PreparedRequest, Result


@dataclass(slots=True, eq=False)
class Generation:
    """One generation and who waits for it.

    `cleared`: its leader may run. `leased`: this worker holds the lease on the answer. `parked`: another worker does,
    and the leader waits outside the line, since `waits_since`. `disowned`: the leader was cancelled and told so; its
    generation goes on for the followers.
    """

    key: str
    leader: QueuedRequest[PreparedRequest]
    followers: dict[Delivery, QueuedRequest[PreparedRequest]] = field(default_factory=dict)
    cleared: bool = True
    leased: bool = False
    parked: bool = False
    waits_since: float | None = None
    disowned: bool = False
    faults: int = 0

    @property
    def ticket(self) -> Delivery:
        return self.leader.item.ticket

    def joined(self, body: bytes, value: bytes | None = None) -> list[Result]:
        """The endings of the followers. One that is the leader's request, sent again, gets its very reply, `value`.

        Not so in a session, where the leader was cancelled then: the answer is still to become a turn.
        """
        leader = self.leader.item.keys.resend
        endings: list[Result] = []
        for place in self.followers.values():
            ticket, keys = place.item.ticket, place.item.keys
            is_again = keys.resend is not None and keys.resend == leader and not ticket.envelope.session
            if value is not None and is_again:
                endings.append(Duplicate(ticket, value))
            else:
                endings.append(CacheHit(ticket, keys, body, CacheOutcome.JOINED))
        return endings
