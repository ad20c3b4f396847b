"""Settings of a worker process, and of the registry that says what its mapped records are."""

import ssl
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, FilePath, SecretStr, model_validator

from pelton.pipeline.settings.kafka_security import TlsFiles
from pelton.pipeline.settings.section import NotNegative, Positive, Seconds, Section
from pelton.pipeline.settings.webhook import is_web_address
from pelton.pipeline.wire.contract import TruncationPolicy


class WorkerSettings(Section):
    """One worker process: what it may hold, and how it leaves."""

    max_waiting_tokens: Positive = 65_536
    """Bounds the request queue: prompts and the new tokens they allow."""
    max_waiting_requests: Positive = 256
    """Bounds the request queue."""
    tenant_weights: dict[str, Annotated[float, Field(gt=0)]] = Field(default={})
    """Shares of tenants that wait in the same lane, 1 for each that is not named: one of weight 3 is given three times
    the tokens."""
    max_request_bytes: Positive = 1_048_576
    """A longer body is refused."""
    map: FilePath | None = None
    """A map for records that are no chat bodies: how they become requests, and where the answer goes. Unset: they are
    chat bodies."""
    truncation: TruncationPolicy = TruncationPolicy.REFUSE
    """What becomes of a prompt that is too long, where its request does not say: it is refused, the longest text of a
    user loses its middle, or the conversation its oldest turns."""
    default_max_new_tokens: Positive = 512
    """The answer's limit where a request sets none."""
    flush_interval_ms: NotNegative = 50.0
    """How long finished replies gather before they are sent and their offsets committed together, while very many come:
    it is less by the mean time between two of them, so that at low load a reply goes at once. While the engine runs,
    answers may gather for an eighth of the longest wait for it, their own or that of a request which still waits, up to
    eighty times this interval."""
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
    figures_interval_s: NotNegative = 10.0
    """How often a line of figures is logged while there is something to do (running, waiting, tokens/s, cache hits,
    steps); 0: never."""
    ready_file: Path | None = None
    """Exists while all workers are ready: for a container's health check. Worker i has its own, with `-i` appended."""
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] | None = None
    """Worker i serves metrics and health on this port + i (0: on any free one); unset: on the first that is free from
    9400 on. The log says which."""
    metrics_host: str = "127.0.0.1"
    """The address that metrics and health are served on."""


class SchemaSettings(Section):
    """A schema registry that speaks Confluent's API, for mapped records in Avro, Protobuf or JSON Schema; the extra
    `pelton[schemas]`.
    """

    url: Annotated[str, AfterValidator(is_web_address)] | None = None
    """The registry's address, such as `https://registry:8081`. Unset: mapped records are plain JSON."""
    username: str | None = None
    """Shown to the registry together with `password`; of Confluent Cloud, the API key."""
    password: SecretStr | None = None
    """Better given as a variable or a file."""
    token: SecretStr | None = None
    """Sent as `Authorization: Bearer`, in place of user and password."""
    ssl_cafile: FilePath | None = None
    """Certificates in PEM by which the registry proves who it is; unset: those that the system trusts."""
    ssl_certfile: FilePath | None = None
    """A certificate in PEM that is shown to the registry."""
    ssl_keyfile: FilePath | None = None
    """The private key of `ssl_certfile`, in PEM; unset: in the same file."""
    ssl_keyfile_password: SecretStr | None = None
    """The password of an encrypted key."""
    timeout_s: Seconds = 10.0
    """How long the registry may take to answer. Then it is asked again, less and less often, without end."""
    give_up_s: Seconds = 60.0
    """How long a registry that answers other questions may fail at one schema. Then the records of that schema end with
    `schema_unavailable`, since those behind them wait too. One that is away is waited for without end."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if (self.username is None) is not (self.password is None):
            raise ValueError("username and password go together: set both or neither")
        if self.username is not None and ":" in self.username:
            raise ValueError("username: HTTP allows no colon in it")
        if self.token is not None and self.username is not None:
            raise ValueError("token and username are both set: leave one out")
        if self.ssl_keyfile is not None and self.ssl_certfile is None:
            raise ValueError("ssl_keyfile has no use without ssl_certfile")
        if self.encrypted:
            self.tls()
        return self

    @property
    def encrypted(self) -> bool:
        return self.url is not None and self.url.startswith("https:")

    def tls(self) -> ssl.SSLContext:
        """Raises `ValueError` that names the setting."""
        secret = self.ssl_keyfile_password
        password = None if secret is None else secret.get_secret_value()
        return TlsFiles(self.ssl_cafile, self.ssl_certfile, self.ssl_keyfile, password).context()
