"""Settings of the model and of the engines that run it."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pelton.pipeline.settings.remote import RemoteSettings
from pelton.pipeline.settings.section import NotNegative, Positive, Section


class ModelSettings(Section):
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
    context_length: Positive | None = None
    """Most tokens of prompt and answer together; unset, the lower of what the model and its tokenizer state. A higher
    value than the tokenizer's `model_max_length` is taken, one beyond the model's positions is refused."""
    trust_remote_code: bool = False
    """Run the Python code that comes with the model's files."""

    @property
    def name(self) -> str:
        return self.served_name or Path(self.path).name


class SimulatedSettings(Section):
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

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.min_output_tokens <= self.mean_output_tokens <= self.max_output_tokens:
            raise ValueError("min_output_tokens, mean_output_tokens and max_output_tokens must not decrease")
        return self


class EngineSettings(Section):
    """How requests become batches."""

    weights: Literal["auto", "int8", "fp8"] = "auto"
    """`int8`: on a CPU, linear layers compute in 8-bit integers; a quarter of float32's memory, and other answers here
    and there. `fp8`: the same on a GPU that multiplies it (compute capability 8.9 or later, for mixtures of experts
    9.0); half of bfloat16's memory. `auto`: in the model's data type, and an fp8 checkpoint in fp8
    where the GPU multiplies it."""
    kind: Literal["continuous", "padded", "simulated", "openai"] = "continuous"
    """A model that cannot be batched continuously runs on the padded engine all the same; the log says why. `openai`
    runs none: it passes requests on to `engine.remote.endpoints`."""
    max_batch_tokens: Positive | None = None
    """Most tokens one step may compute; unset, what suits the device. Of a padded batch: all that it will ever compute,
    padding and tokens still to come included."""
    max_running: Positive | None = None
    """Requests that share the continuous engine's steps; unset, what suits the device."""
    kv_memory_gib: Annotated[float, Field(gt=0)] | None = None
    """Memory for keys and values, of each part of a model in parts; unset, what the running requests can use, within a
    part of what is free."""
    kv_dtype: Literal["auto", "int8", "fp8"] = "auto"
    """What keys and values are stored in. `int8`, and on a GPU `fp8`: a byte for each number, so that about twice the
    tokens (of float32: four times) fit into the same memory, and other answers here and there. `auto`: the model's data
    type."""
    tensor_parallel: Positive = 1
    """Into how many parts the continuous engine cuts the model. Each is computed by a process and on a GPU of its own,
    which keeps its part of the keys and values too. On the CPU it is for trying out; on GPUs it has not run yet."""
    page_size: Positive = 64
    """Tokens in a KV page. Only full pages are shared between prompts."""
    prefix_cache: bool = True
    """Compute what prompts have in common once."""
    share_prefixes: bool = False
    """Let tenants share computed prefixes. One can then measure whether another has sent the same beginning."""
    batch_invariant: bool = False
    """Answers that do not depend on the batch to the last bit, at several times the cost of a prompt."""
    speculation: Literal["prompt", "off"] = "off"
    """`prompt`: on a CPU, steps also verify tokens guessed from a request's own text, as many as pay by measured times;
    faster where answers quote their prompts."""
    max_batch_size: Positive = 16
    """Rows of a padded batch."""
    max_batch_wait_ms: NotNegative = 50.0
    """How long a padded batch with room left waits for company, from its first request on, while very many come. It is
    less by the mean time between two of them, so that at low load a request goes at once."""
    simulated: SimulatedSettings = SimulatedSettings()
    remote: RemoteSettings = RemoteSettings()

    @model_validator(mode="after")
    def _has_parts(self) -> Self:
        if self.tensor_parallel > 1 and self.kind != "continuous":
            raise ValueError(f'tensor_parallel is for kind "continuous", and kind is "{self.kind}"; set it to 1')
        return self

    @model_validator(mode="after")
    def _has_endpoints(self) -> Self:
        if self.kind == "openai" and not self.remote.endpoints:
            raise ValueError('kind "openai" needs remote.endpoints: the base URLs of what answers')
        return self
