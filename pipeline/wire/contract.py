"""Names on the wire: topics and headers. The public interface; add to it, never rename in it."""

from enum import StrEnum

REQUESTS_TOPIC = "inference.requests"
REPLIES_TOPIC = "inference.replies"
DEAD_LETTER_SUFFIX = "-dlt"
CANCELS_TOPIC = "inference.cancels"
SHADOW_TOPIC = "inference.shadow"

REPORT_JOBS_TOPIC = "reports.jobs"
REPORT_RESULTS_TOPIC = "reports.results"
REPORT_STATUS_TOPIC = "reports.status"
REPORT_SECTIONS_TOPIC = "reports.sections"
REPORT_REPLIES_TOPIC = "reports.replies"
REPORT_CANCELS_TOPIC = "reports.cancels"

CORRELATION_ID = "kafka_correlationId"
CORRELATION_ID_ALIAS = "correlation_id"
REPLY_TOPIC = "kafka_replyTopic"
REPLY_PARTITION = "kafka_replyPartition"

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"

OWN_PREFIX = "pelton-"
TENANT = "pelton-tenant"
TENANT_SIGNATURE = "pelton-tenant-signature"
TENANT_PATTERN = r"[A-Za-z0-9._:@-]{1,128}"
DEADLINE = "pelton-deadline"
PRIORITY = "pelton-priority"
SESSION = "pelton-session"
STREAM = "pelton-stream"
"""`true`, or the name of the topic for partial text."""
CACHE = "pelton-cache"
TRUNCATION = "pelton-truncation"
VARIANT = "pelton-variant"
"""`experiment/variant`: what a router has assigned a request to. Goes back with the reply, like the next two."""
ROUTE = "pelton-route"
UNIT = "pelton-unit"
"""A hash of what the variant was assigned by (a tenant, a user, a session): equal for equal ones of an experiment."""

UNREADABLE = "pelton-unreadable"
"""Of a record that stands in for one that could not be read: why. Written by readers, never by senders."""

SOURCE = "pelton-source"
MODEL = "pelton-model"
WORKER = "pelton-worker"
ATTEMPT = "pelton-attempt"
STRUCTURED = "pelton-structured"
"""How exactly an answer was held to the form asked for: `strict`, `coerced` or `lenient`."""
TRUNCATED = "pelton-truncated"
"""Of a reply to a request that was too long: how it was cut, and by how many tokens, such as `middle;tokens=1200`."""
QUEUE_MS = "pelton-queue-ms"
BATCH_WAIT_MS = "pelton-batch-wait-ms"
PREFILL_MS = "pelton-prefill-ms"
DECODE_MS = "pelton-decode-ms"
PUBLISH_MS = "pelton-publish-ms"
RETRY_AFTER_MS = "pelton-retry-after-ms"
"""Of an error that passes: how long to wait before the request is sent again."""
DEGRADED = "pelton-degraded"
"""What the answer has less of than was asked for, because of the load."""


class Lane(StrEnum):
    """Who goes first, in the header `pelton-priority`; where that is missing, the request's topic decides."""

    INTERACTIVE = "interactive"
    """Somebody waits: goes before what is batch, and takes rows back from it."""
    BATCH = "batch"

    priority: int
    """The higher, the sooner it goes."""

    def __init__(self, name: str) -> None:
        self.priority = int(name == "interactive")


class Route(StrEnum):
    """Why a request of an experiment is where it is, in the header `pelton-route`."""

    WEIGHT = "weight"
    """Its unit was assigned to the variant, by the weights."""
    OVERFLOW = "overflow"
    """The variant's model was behind: another model answers in its place."""
    SHADOW = "shadow"
    """A copy, whose reply goes to no caller."""


class TruncationPolicy(StrEnum):
    """What becomes of a prompt that is too long, in the header `pelton-truncation`; without it a setting decides."""

    REFUSE = "refuse"
    """The request ends with an error."""
    MIDDLE = "middle"
    """The longest text of a user loses its middle."""
    OLDEST_TURNS = "oldest_turns"
    """The conversation loses its oldest turns; system messages and the last user's turn stay."""


class CacheUse(StrEnum):
    """What a request may ask of the cache in the header `pelton-cache`."""

    USE = "use"
    """Read, join what is under way, write."""
    REFRESH = "refresh"
    """Generate anew, and keep the new answer."""
    BYPASS = "bypass"
    """Have nothing to do with it."""


class CacheOutcome(StrEnum):
    """Where an answer came from, in the reply header `pelton-cache`. An answer that bypassed the cache has none."""

    HIT_LOCAL = "hit-local"
    HIT_REMOTE = "hit-remote"
    JOINED = "joined"
    """An equal request was being generated already."""
    MISS = "miss"
    RESENT = "resent"
    """The same request had been answered before: this is the very same reply."""
    BYPASS = "bypass"

    @property
    def saved(self) -> bool:
        """Whether the request itself was not computed."""
        return self not in {CacheOutcome.MISS, CacheOutcome.BYPASS}


def dead_letter_topic(topic: str) -> str:
    """Where a record of `topic` goes that could not be answered."""
    return topic + DEAD_LETTER_SUFFIX
