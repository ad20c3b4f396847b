"""Settings: a TOML file, overridden by `PELTON_*` variables (`PELTON_KAFKA__BOOTSTRAP_SERVERS`, …).

A variable with `_FILE` appended names a file that holds the value.

Every name is refused that means nothing here, in the file and in `PELTON_…__…` variables alike, and the nearest known
one is named: a typo must not run a fleet on defaults.
"""

import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from pelton.pipeline.settings.cache import CacheSettings, SessionSettings
from pelton.pipeline.settings.engine import EngineSettings, ModelSettings
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.settings.log import LogSettings, TraceSettings
from pelton.pipeline.settings.names import DELIMITER, PREFIX, SettingNames
from pelton.pipeline.settings.quota import OverloadSettings, QuotaSettings
from pelton.pipeline.settings.reports import ReportSettings
from pelton.pipeline.settings.routing.router import RoutingSettings
from pelton.pipeline.settings.serve import ServeSettings
from pelton.pipeline.settings.value_files import value_files, values_from_files
from pelton.pipeline.settings.webhook import WebhookSettings
from pelton.pipeline.settings.worker import SchemaSettings, WorkerSettings

CONFIG_VARIABLE = "PELTON_CONFIG"


class SettingsError(Exception):
    """The configuration cannot be used; the message names each setting at fault."""


class _Environment(EnvSettingsSource):
    """Variables, and the files that they name.

    A value that should be JSON and is not is passed on, so that its fault is reported with its name.
    """

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls)
        named = {variable.lower() for variable, _ in value_files(os.environ, NAMES.leaves).values()}
        values, _ = values_from_files(os.environ, NAMES.leaves)
        plain = {name: value for name, value in self.env_vars.items() if name not in named}
        self.env_vars = plain | {name.lower(): value for name, value in values.items()}

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
    quota: QuotaSettings = QuotaSettings()
    routing: RoutingSettings = RoutingSettings()
    overload: OverloadSettings = OverloadSettings()
    schemas: SchemaSettings = SchemaSettings()
    serve: ServeSettings = ServeSettings()
    webhook: WebhookSettings = WebhookSettings()
    reports: ReportSettings = ReportSettings()
    log: LogSettings = LogSettings()
    traces: TraceSettings = TraceSettings()

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
    _, unread = values_from_files(os.environ, NAMES.leaves)
    strange = NAMES.strange_variables(os.environ) | unread
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
