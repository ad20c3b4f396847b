"""Settings: a TOML file, overridden by `PELTON_*` variables (`PELTON_KAFKA__BOOTSTRAP_SERVERS`, …).

Every name is refused that means nothing here, in the file and in `PELTON_…__…` variables alike, and the nearest known
one is named: a typo must not run a fleet on defaults.
"""

import os
import re
import ssl
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FilePath,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from pelton.pipeline.report_settings import ReportSettings
from pelton.pipeline.setting_names import DELIMITER, PREFIX, SettingNames
from pelton.pipeline.wire import contract
from pelton.pipeline.wire.headers import ReplyPolicy
from pelton.pipeline.wire.tenants import TenantPolicy

CONFIG_VARIABLE = "PELTON_CONFIG"

MIN_SECRET_CHARS = 16
"""Of secrets that sign: a shorter one can be guessed from what is signed."""

Positive = Annotated[int, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0)]


class SettingsError(Exception):
    """The configuration cannot be used; the message names each setting at fault."""


def _is_list(value: Any) -> Any:
    if isinstance(value, str):
        raise ValueError('a list is written as JSON: ["one", "two"]')  # noqa: TRY004  # pydantic's protocol
    return value


Secret = Annotated[SecretStr, Field(min_length=MIN_SECRET_CHARS)]
Strings = Annotated[tuple[str, ...], BeforeValidator(_is_list)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class KafkaSettings(_Section):
    """The broker, the topics and the group. The security options go to every client as they are."""

    bootstrap_servers: str = "127.0.0.1:9092"
    """Brokers to start from, as `host:port`, separated by commas."""
    group_id: str = "pelton"
    """The workers' consumer group; part of every transactional id."""
    request_topics: Annotated[Strings, Field(min_length=1)] = (contract.REQUESTS_TOPIC,)
    """Topics that workers read. Clients send to the first."""
    reply_topic: str = contract.REPLIES_TOPIC
    """Where replies go whose request names no topic."""
    reply_topics_allowed: Strings = (re.escape(contract.REPORT_REPLIES_TOPIC),)
    """Regular expressions for the other topics a sender may name in `kafka_replyTopic`."""
    create_topics: bool = False
    """Create the topics that are missing when a worker starts."""
    partitions: Positive = 12
    """Partitions of a topic that a worker or `pelton up` creates."""
    replication_factor: Positive = 1
    """Copies of a topic that a worker or `pelton up` creates."""
    session_timeout_ms: Positive = 45_000
    """A dead worker's partitions move to others after this long."""
    request_timeout_ms: Positive = 10_000
    """How long a Kafka client waits for a broker's answer."""
    delivery: Literal["exactly_once", "at_least_once"] = "exactly_once"
    """Exactly once needs transactions (Kafka 4.0 or newer); at least once repeats answers after a crash."""
    transaction_timeout_ms: Positive = 10_000
    """A dead worker's open transaction holds up `read_committed` readers for at most about this long."""
    suspects_topic: str = "inference.suspects"
    """Compacted, one partition: remembers which requests were in the engine of a worker that died."""
    group_secret: Secret | None = None
    """Known to the group's workers and operators and to nobody else: suspicions, and the notes of replayed dead
    letters, are signed with it, and what is not is ignored. Unset, the broker must let nobody else write there."""
    cancels_topic: str = contract.CANCELS_TOPIC
    """Senders take requests back there; every worker reads all of it."""
    tenant_topics: dict[str, str] = {}
    """Tenants by request topic: what comes from there is theirs, and nobody else can claim to be them."""
    tenant_keys: dict[str, Secret] = {}
    """Secrets by tenant: a request that names a tenant must be signed with its key; clients that have the key sign."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How clients connect to the brokers."""
    ssl_cafile: FilePath | None = None
    """Certificates that the brokers' are checked against; unset: the system's."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    """How clients log in, where the protocol is `SASL_...`."""
    sasl_username: str | None = None
    """Who logs in."""
    sasl_password: SecretStr | None = None
    """Better given as the variable `PELTON_KAFKA__SASL_PASSWORD`."""

    @field_validator("reply_topics_allowed")
    @classmethod
    def _compiles(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
        return patterns

    def reply_policy(self) -> ReplyPolicy:
        """Where replies may go, and what proves whose a request is."""
        return ReplyPolicy(self.reply_topic, tuple(map(re.compile, self.reply_topics_allowed)), self.tenant_policy())

    def tenant_policy(self) -> TenantPolicy:
        """What binds tenants to topics and keys."""
        keys = {tenant: key.get_secret_value().encode() for tenant, key in self.tenant_keys.items()}
        return TenantPolicy(dict(self.tenant_topics), keys)

    @model_validator(mode="after")
    def _tenants_fit(self) -> Self:
        if strays := sorted(self.tenant_topics.keys() - set(self.request_topics)):
            raise ValueError(f"tenant_topics names {strays[0]!r}, which is none of request_topics")
        for tenant in (*self.tenant_topics.values(), *self.tenant_keys):
            if not re.fullmatch(contract.TENANT_PATTERN, tenant):
                raise ValueError(f"{tenant!r} cannot be a tenant: 1 to 128 letters, digits or any of . _ : @ -")
        return self

    @model_validator(mode="after")
    def _sasl_has_a_user(self) -> Self:
        if self.security_protocol.startswith("SASL") and not (self.sasl_username and self.sasl_password):
            raise ValueError(f"security_protocol {self.security_protocol} needs sasl_username and sasl_password")
        return self

    def client_options(self) -> dict[str, Any]:
        """Keyword arguments that every aiokafka client takes."""
        encrypted = self.security_protocol.endswith("SSL")
        return {
            "bootstrap_servers": self.bootstrap_servers,
            "security_protocol": self.security_protocol,
            "ssl_context": ssl.create_default_context(cafile=self.ssl_cafile) if encrypted else None,
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.sasl_username,
            "sasl_plain_password": self.sasl_password and self.sasl_password.get_secret_value(),
            "request_timeout_ms": self.request_timeout_ms,
        }


def _is_whole(url: str) -> bool:
    """Whether host and port are where they should be, and nothing of a password has come to lie behind them."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0 and "@" not in parts.path + parts.query + parts.fragment
    except ValueError:  # its message quotes the URL
        return False


class CacheSettings(_Section):
    """The reply cache: a tier in each worker's memory, and one in Redis or Valkey that all share."""

    enabled: bool = True
    """Whether answers are kept and shared at all."""
    redis_url: str | None = Field(default=None, repr=False)
    """`redis://`, `rediss://` (TLS) or `unix://`; unset, each worker has only its own tier."""
    username: str | None = None
    """Of the server's ACL, where the URL names none; so for the password. The user needs the keys `pelton:*` and the
    command categories read, write, scripting and connection."""
    password: SecretStr | None = None
    """Better given as the variable `PELTON_CACHE__PASSWORD`."""
    ssl_cafile: FilePath | None = None
    """Certificates that the server's is checked against; unset: the system's."""
    secret: Secret | None = None
    """Known to all workers and to nobody else: answers and session histories are sealed with it, and what is not is not
    read. Set or changed, it makes what is stored unreadable: answers are generated anew, sessions end."""
    local_bytes: Positive = 100_000_000
    """Memory that a worker's own tier may take, its bookkeeping included."""
    local_ttl_s: Seconds = 300.0
    """How long an answer is kept in a worker's own tier."""
    ttl_s: Seconds = 86_400.0
    """How long an answer is kept in Redis, give or take a tenth."""
    timeout_ms: Annotated[float, Field(gt=0)] = 10.0
    """What a request may lose to a Redis that does not answer; after a few times it is not asked until it does. Answers
    of 100 kB and more take longer to read when many come at once."""
    lease_ttl_ms: Positive = 5_000
    """After a worker's death in the middle of an answer, those who wait for it wait at most about this long."""
    lease_wait_ms: Positive = 60_000
    """How long a request waits for another worker to generate its answer before it is generated twice."""
    resend_window_s: Seconds = 600.0
    """A request that is sent again (same sender, id and body) within this time gets the same reply again."""
    share_across_tenants: bool = False
    """Let tenants share answers. One can then measure whether another has asked the same."""

    @model_validator(mode="after")
    def _url_fits(self) -> Self:
        scheme = (self.redis_url or "").partition("://")[0]
        if self.redis_url is not None and scheme not in {"redis", "rediss", "unix"}:
            raise ValueError("redis_url must begin with redis://, rediss:// or unix://")
        if self.redis_url is not None and scheme != "unix" and not _is_whole(self.redis_url):
            raise ValueError(
                "redis_url cannot be read: in its user and password write / as %2F, # as %23 and ? as %3F, or set "
                "cache.username and cache.password instead"
            )
        if self.ssl_cafile is not None and scheme != "rediss":
            raise ValueError("ssl_cafile has no use without a redis_url that begins with rediss://")
        return self


class SessionSettings(_Section):
    """Conversations whose history is kept in Redis (`cache.redis_url`)."""

    ttl_s: Positive = 604_800
    """How long a history is kept after its last turn."""
    max_context_tokens: Positive | None = None
    """The longest prompt that a history may make; its oldest turns are dropped for it. Unset: the model's context."""
    wait_ms: NotNegative = 5_000.0
    """How long a request waits for Redis, when it is away, before it ends with `session_unavailable`."""


class ModelSettings(_Section):
    """Which weights to serve, under which name."""

    path: str = "smollm2-135m-instruct"
    """A folder, a model hub id, or the name of the model that pip can install."""
    gguf_file: str | None = None
    """The file's name inside `path`, for GGUF weights."""
    served_name: str | None = None
    """What requests call the model; the last part of `path` where unset."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: bfloat16 where the device computes it natively, else float32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: a GPU where there is one."""
    trust_remote_code: bool = False
    """Run the Python code that comes with the model's files."""

    @property
    def name(self) -> str:
        return self.served_name or Path(self.path).name


class SimulatedSettings(_Section):
    """The simulated engine's speed and the length of its answers, in tokens."""

    ttft_ms: NotNegative = 20.0
    """How much longer a step takes in which requests join."""
    itl_ms: NotNegative = 5.0
    """A step's time."""
    itl_ms_per_row: NotNegative = 0.02
    """A step's time for each running request."""
    min_output_tokens: Positive = 8
    """The shortest answer."""
    mean_output_tokens: Positive = 24
    """Mean of the answers' lengths, which are exponentially distributed."""
    max_output_tokens: Positive = 64
    """The longest answer."""
    seed: int = 0
    """Chooses among sets of answer lengths."""
    max_running: Positive = 256
    """Requests that share a step."""
    context_length: Positive = 32_768
    """Longest prompt and answer together."""
    poison: str = ""
    """A request with this text in its prompt kills the worker's process: for fault tests. Empty: none does."""
    failing: str = ""
    """A request with this text in its prompt fails. Empty: none does."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.min_output_tokens <= self.mean_output_tokens <= self.max_output_tokens:
            raise ValueError("min_output_tokens, mean_output_tokens and max_output_tokens must not decrease")
        return self


class EngineSettings(_Section):
    """How requests become batches."""

    kind: Literal["continuous", "padded", "simulated"] = "continuous"
    """A model that cannot be batched continuously runs on the padded engine all the same; the log says why."""
    max_batch_tokens: Positive | None = None
    """Most tokens one step may compute; unset, what suits the device. Of a padded batch: all that it will ever compute,
    padding and tokens still to come included."""
    max_running: Positive | None = None
    """Requests that share the continuous engine's steps; unset, what suits the device."""
    kv_memory_gib: Annotated[float, Field(gt=0)] | None = None
    """Memory for keys and values; unset, what the running requests can use, within a part of what is free."""
    page_size: Positive = 64
    """Tokens in a KV page. Only full pages are shared between prompts."""
    prefix_cache: bool = True
    """Compute what prompts have in common once."""
    share_prefixes: bool = False
    """Let tenants share computed prefixes. One can then measure whether another has sent the same beginning."""
    batch_invariant: bool = False
    """Answers that do not depend on the batch to the last bit, at several times the cost of a prompt."""
    max_batch_size: Positive = 16
    """Rows of a padded batch."""
    max_batch_wait_ms: NotNegative = 50.0
    """How long a padded batch with room left waits for company, from its first request on."""
    simulated: SimulatedSettings = SimulatedSettings()


class WorkerSettings(_Section):
    """One worker process: what it may hold, and how it leaves."""

    max_waiting_tokens: Positive = 65_536
    """Bounds the request queue: prompts and the new tokens they allow."""
    max_waiting_requests: Positive = 256
    """Bounds the request queue."""
    max_request_bytes: Positive = 1_048_576
    """A longer body is refused."""
    default_max_new_tokens: Positive = 512
    """The answer's limit where a request sets none."""
    flush_interval_ms: NotNegative = 50.0
    """How long finished replies gather before they are sent and their offsets committed together. While the engine
    runs, answers may gather for an eighth of the longest wait for it, their own or that of a request which still waits,
    up to eighty times this interval."""
    drain_timeout_s: NotNegative = 30.0
    """After SIGTERM: how long running requests may take to finish. What is cut off is answered by another worker."""
    replicas: Positive = 1
    """Worker processes that one `pelton worker` keeps running; on a machine with GPUs one for each of them."""
    max_attempts: Positive = 3
    """How often a request may fail in the engine for a reason that may pass (out of memory, internal)."""
    retry_backoff_ms: NotNegative = 250.0
    """The wait before a second attempt; it doubles for each one after."""
    max_lone_crashes: Positive = 2
    """A request that is alone in the engine when its worker dies, this many times, is poison: it is not tried again."""
    stall_timeout_s: Annotated[float, Field(gt=0)] = 300.0
    """A worker whose engine takes longer than this for one step is ended and started again."""
    ready_file: Path | None = None
    """Exists while all workers are ready: for a container's health check. Worker i has its own, with `-i` appended."""
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] | None = None
    """Worker i serves Prometheus metrics on this port + i (0: on any free one); unset: not at all."""
    metrics_host: str = "127.0.0.1"
    """The address that metrics are served on."""


class ServeSettings(_Section):
    """The HTTP face: where it listens, who may call, and what it takes."""

    host: str = "127.0.0.1"
    """The address to listen on."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    """0 takes any free port."""
    keys_file: FilePath | None = None
    """Lines of a tenant and the SHA-256 of its API key, in hex. Unset: nobody needs a key, and all are one tenant."""
    storage: str = "pelton-files"
    """Where uploaded files and results lie: a folder, or any URL that fsspec opens (`s3://bucket/prefix`). Servers
    that share work share it."""
    batches_topic: str = "inference.batches"
    """Compacted; holds what every batch is and how far it has come."""
    request_timeout_s: Seconds = 600.0
    """How long a chat completion may take before its client gets an error, and its request is cancelled."""
    max_body_bytes: Positive = 1_048_576
    """A longer body of a chat completion is refused."""
    max_file_bytes: Positive = 209_715_200
    """A longer uploaded file is refused."""
    max_batch_requests: Positive = 1_000_000
    """A batch file with more requests is refused."""
    max_batches_running: Positive = 8
    """Batches that one server works on at once; the others wait."""
    max_in_flight: Positive = 1_024
    """Requests of one batch that are sent and not answered."""


class _Environment(EnvSettingsSource):
    """Variables; a value that should be JSON and is not is passed on, so that its fault is told with its name."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


class Settings(BaseSettings):
    """All of it. Built by `load_settings`; frozen."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter=DELIMITER,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        nested_model_default_partial_update=True,
    )

    kafka: KafkaSettings = KafkaSettings()
    cache: CacheSettings = CacheSettings()
    session: SessionSettings = SessionSettings()
    model: ModelSettings = ModelSettings()
    engine: EngineSettings = EngineSettings()
    worker: WorkerSettings = WorkerSettings()
    serve: ServeSettings = ServeSettings()
    reports: ReportSettings = ReportSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # the signature is pydantic's
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # likewise
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # likewise
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return _Environment(settings_cls), init_settings


NAMES = SettingNames(Settings)


def settings_file(config: Path | None = None) -> Path | None:
    """The file that is read: `config`, else the one `PELTON_CONFIG` names, else none."""
    named = config or os.environ.get(CONFIG_VARIABLE)
    return Path(named) if named else None


def load_settings(config: Path | None = None) -> Settings:
    """Read the TOML file (`config`, else the one `PELTON_CONFIG` names, else none) and the environment over it.

    Raises `SettingsError`, which names every fault.
    """
    file = settings_file(config)
    strange = NAMES.strange_variables(os.environ)
    told = [f"{variable}: {fault}" for variable, fault in strange.items()]
    try:
        settings = Settings(**(read_toml(file) if file else {}))
    except ValidationError as error:
        raise _unusable(file, [*map(_told, error.errors()), *told]) from None
    if told:
        raise _unusable(file, told)
    return settings


def _unusable(file: Path | None, faults: list[str]) -> SettingsError:
    lines = "\n".join(f"  {fault}" for fault in faults)
    return SettingsError(f"The settings ({settings_origin(file)}) cannot be used:\n{lines}")


def settings_origin(file: Path | None) -> str:
    """Where settings come from, in words."""
    return f"{file} and {PREFIX}* variables" if file else f"{PREFIX}* variables"


def _told(fault: ErrorDetails) -> str:
    name = ".".join(map(str, fault["loc"]))
    if fault["type"] == "extra_forbidden":
        return f"{name}: unknown setting; {NAMES.hint(name)}"
    return f"{name}: {fault['msg'].removeprefix('Value error, ')}"


def read_toml(path: Path) -> dict[str, Any]:
    """A settings file as it stands. Raises `SettingsError`."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"The settings file {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"The settings file {path} is not TOML: {error}.") from None
