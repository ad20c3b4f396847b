"""Names of spans' attributes: OpenTelemetry's conventions for messaging, for generative AI, and Pelton's own.

Both conventions are still in development and rename things: this is the one file to change.
"""

MESSAGING_SYSTEM = "messaging.system"
OPERATION_NAME = "messaging.operation.name"
OPERATION_TYPE = "messaging.operation.type"
DESTINATION = "messaging.destination.name"
PARTITION = "messaging.destination.partition.id"
OFFSET = "messaging.kafka.offset"
GROUP = "messaging.consumer.group.name"
CONVERSATION = "messaging.message.conversation_id"
"""The correlation id."""
BODY_BYTES = "messaging.message.body.size"
BATCH_SIZE = "messaging.batch.message_count"
ERROR_TYPE = "error.type"

AI_OPERATION = "gen_ai.operation.name"
AI_PROVIDER = "gen_ai.provider.name"
AI_REQUEST_MODEL = "gen_ai.request.model"
AI_RESPONSE_MODEL = "gen_ai.response.model"
AI_MAX_TOKENS = "gen_ai.request.max_tokens"
AI_TEMPERATURE = "gen_ai.request.temperature"
AI_TOP_P = "gen_ai.request.top_p"
AI_SEED = "gen_ai.request.seed"
AI_FINISH_REASONS = "gen_ai.response.finish_reasons"
AI_INPUT_TOKENS = "gen_ai.usage.input_tokens"
AI_CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
AI_OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
AI_CONVERSATION = "gen_ai.conversation.id"
"""The session."""

ATTEMPT = "pelton.attempt"
CACHE = "pelton.cache"
LANE = "pelton.lane"
TENANT = "pelton.tenant"
JOB = "pelton.job"
"""The report job that a request is a section of."""
KAFKA_WAIT_MS = "pelton.kafka_wait_ms"
"""How long the request lay in its topic before it was fetched."""

FIRST_TOKEN = "first token"  # noqa: S105  # an event's name
"""The event between prefill and decode."""

KAFKA = "kafka"
PELTON = "pelton"
CHAT = "chat"
