"""Settings: where they come from, which wins, and that nothing meaningless passes."""

import os
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.settings.loading import Settings, SettingsError, load_settings

Toml = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the machine's own configuration reaches these tests."""
    for name in os.environ:
        if name.upper().startswith("PELTON_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def toml(tmp_path: Path) -> Toml:
    def write(text: str) -> Path:
        path = tmp_path / "pelton.toml"
        path.write_text(text, "utf-8")
        return path

    return write


def fault(config: Path | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(config)
    return str(caught.value)


# --- where they come from


def test_defaults_run_on_a_laptop() -> None:
    """With nothing set, everything points at this machine."""
    settings = load_settings()
    assert settings.kafka.bootstrap_servers.startswith("127.0.0.1:")
    assert settings.kafka.request_topics == ("inference.requests",)
    assert settings.cache.redis_url is None


def test_file_then_variables_over_it(toml: Toml, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable replaces one value of the file and leaves its neighbours, at every depth."""
    config = toml(
        """
        [kafka]
        group_id = "file"
        partitions = 3
        request_topics = ["a", "b"]
        [engine]
        kind = "simulated"
        [engine.simulated]
        seed = 7
        ttft_ms = 1
        """
    )
    monkeypatch.setenv("PELTON_KAFKA__GROUP_ID", "variable")
    monkeypatch.setenv("PELTON_ENGINE__SIMULATED__SEED", "8")
    settings = load_settings(config)
    assert (settings.kafka.group_id, settings.kafka.partitions) == ("variable", 3)
    assert settings.kafka.request_topics == ("a", "b")
    assert (settings.engine.kind, settings.engine.max_batch_size) == ("simulated", 16)
    simulated = settings.engine.simulated
    assert (simulated.seed, simulated.ttft_ms, simulated.itl_ms) == (8, 1.0, 5.0)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("PELTON_KAFKA__REQUEST_TOPICS", '["a", "b"]', ("a", "b")),
        ("PELTON_KAFKA", '{"request_topics": ["c"]}', ("c",)),
        ("pelton_kafka__request_topics", '["d"]', ("d",)),
    ],
)
def test_lists_in_variables_are_json(
    name: str, value: str, expected: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list, or a whole section, is one JSON value; names may be in either case."""
    monkeypatch.setenv(name, value)
    assert load_settings().kafka.request_topics == expected


def test_the_file_is_the_argument_else_the_one_pelton_config_names(
    toml: Toml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`PELTON_CONFIG` is for containers; a file named on the command line wins; an empty variable names none."""
    config = toml('[kafka]\ngroup_id = "variable\'s"')
    other = tmp_path / "other.toml"
    other.write_text('[kafka]\ngroup_id = "argument\'s"', "utf-8")
    monkeypatch.setenv("PELTON_CONFIG", str(config))
    assert load_settings().kafka.group_id == "variable's"
    assert load_settings(other).kafka.group_id == "argument's"
    monkeypatch.setenv("PELTON_CONFIG", config.name)
    assert load_settings().kafka.group_id == "variable's"
    monkeypatch.setenv("PELTON_CONFIG", "")
    assert load_settings().kafka.group_id == "pelton"


def test_nothing_else_is_read(tmp_path: Path) -> None:
    """A `.env` or a `pelton.toml` that happens to lie in the working directory changes nothing."""
    (tmp_path / ".env").write_text("PELTON_KAFKA__GROUP_ID=stray", "utf-8")
    (tmp_path / "pelton.toml").write_text('[kafka]\ngroup_id = "stray"', "utf-8")
    assert load_settings() == Settings()


def test_settings_cannot_be_changed() -> None:
    """What a process started with is what it runs with, down to the innermost section."""
    settings = load_settings()
    for section in (settings, settings.kafka, settings.engine.simulated):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(section, next(iter(type(section).model_fields)), None)


# --- what is refused


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("[kafak]\ngroup_id = 'x'", "kafak"),
        ("[kafka]\ngroup = 'x'", "kafka.group"),
        ("[engine.simulated]\nttft = 1", "engine.simulated.ttft"),
        ("group_id = 'x'", "group_id"),
        ("[kafka]\npartitions = 0", "kafka.partitions"),
        ("[kafka]\npartitions = 'many'", "kafka.partitions"),
        ("[kafka]\nrequest_topics = []", "kafka.request_topics"),
        ("[kafka]\nrequest_topics = 'a'", "kafka.request_topics"),
        ("[kafka]\nrequest_topics = ['a', 1]", "kafka.request_topics.1"),
        ("[kafka]\nreply_topics_allowed = ['(']", "kafka.reply_topics_allowed"),
        ("[kafka]\nsecurity_protocol = 'TLS'", "kafka.security_protocol"),
        ("[kafka]\nssl_cafile = '/there/is/none'", "kafka.ssl_cafile"),
        ("[worker]\ndrain_timeout_s = nan", "worker.drain_timeout_s"),
        ("[worker]\nflush_interval_ms = -1", "worker.flush_interval_ms"),
        ("[worker]\nmetrics_port = 65536", "worker.metrics_port"),
        ("[engine.simulated]\nmin_output_tokens = 100", "engine.simulated"),
        ("kafka = 3", "kafka"),
    ],
)
def test_fault_in_the_file_is_named(text: str, name: str, toml: Toml) -> None:
    """A typo or a value that cannot be used stops the start, under the setting's full name and the file's."""
    config = toml(text)
    message = fault(config)
    assert f"\n  {name}: " in message
    assert str(config) in message


@pytest.mark.parametrize(
    ("variable", "value", "name"),
    [
        ("PELTON_KAFKA__GROUP", "x", "kafka.group"),
        ("PELTON_ENGINE__SIMULATED__TTFT", "1", "engine.simulated.ttft"),
        ("PELTON_KAFKA__GROUP_ID__X", "x", "kafka.group_id"),
        ("PELTON_KAFKA__PARTITIONS", "twelve", "kafka.partitions"),
        ("PELTON_KAFKA__PARTITIONS", "", "kafka.partitions"),
        ("PELTON_KAFKA__REQUEST_TOPICS", "a,b", "kafka.request_topics"),
        ("PELTON_KAFKA__REQUEST_TOPICS", "[", "kafka.request_topics"),
        ("PELTON_KAFKA__REQUEST_TOPICS", "3", "kafka.request_topics"),
        ("PELTON_ENGINE__SIMULATED", "fast", "engine.simulated"),
        ("PELTON_KAFKA", "localhost:9092", "kafka"),
        ("PELTON_KAFKA", "3", "kafka"),
    ],
)
def test_fault_in_a_variable_is_named(variable: str, value: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for variables, where a list or section that is no JSON is the commonest mistake."""
    monkeypatch.setenv(variable, value)
    assert f"\n  {name}: " in fault()


def test_the_way_to_write_a_list_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes commas sees what to write instead."""
    monkeypatch.setenv("PELTON_KAFKA__REQUEST_TOPICS", "a,b")
    assert 'kafka.request_topics: a list is written as JSON: ["one", "two"]' in fault()


def test_all_faults_are_told_at_once(toml: Toml, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody mends a configuration one restart at a time."""
    monkeypatch.setenv("PELTON_CACHE__URL", "redis://x")
    message = fault(toml("[kafka]\ngroup = 'x'\n[worker]\nmax_waiting_tokens = 0"))
    for name in ("cache.url", "kafka.group", "worker.max_waiting_tokens"):
        assert f"\n  {name}: " in message


def test_secrets_stay_out_of_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log must not get the password because something next to it was wrong."""
    monkeypatch.setenv("PELTON_KAFKA", '{"sasl_password": "hunter2", "sasl_user": "hunter2"}')
    assert "hunter2" not in fault()


@pytest.mark.parametrize("content", [b"kafka =", b"\xff\xfe", b"[kafka]\n[kafka]"])
def test_file_that_is_not_toml(content: bytes, tmp_path: Path) -> None:
    """The message has the file's name and where in it the fault lies."""
    config = tmp_path / "broken.toml"
    config.write_bytes(content)
    assert fault(config).startswith(f"The settings file {config} is not TOML: ")


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file is an error, not the defaults; so is a folder."""
    assert fault(tmp_path / "missing.toml") == (
        f"The settings file {tmp_path / 'missing.toml'} cannot be read: No such file or directory."
    )
    assert "cannot be read" in fault(tmp_path)


# --- what they are used as


@pytest.mark.parametrize(
    ("path", "served", "name"),
    [("org/some-model", None, "some-model"), ("/models/glm-4", None, "glm-4"), ("/models/glm-4", "glm", "glm")],
)
def test_name_of_the_model(path: str, served: str | None, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests call the model by the last part of its path unless it is given a name."""
    monkeypatch.setenv("PELTON_MODEL__PATH", path)
    if served:
        monkeypatch.setenv("PELTON_MODEL__SERVED_NAME", served)
    assert load_settings().model.name == name


@pytest.mark.parametrize(
    ("servers", "usable"),
    [
        ("kafka-1.example:9092, kafka-2.example:9092", True),
        ("kafka_1", True),
        ("[::1]:9092", True),
        ("fe80::1", True),
        ("10.0.0.1:65535", True),
        ("", False),
        ("a:1,", False),
        ("localhost:kafka", False),
        ("localhost:65536", False),
        ("localhost:0", False),
        ("http://localhost:9092", False),
        ("two words:9092", False),
    ],
)
def test_addresses_of_brokers(servers: str, usable: bool) -> None:
    """The client would meet a bad one with a traceback."""
    if usable:
        assert KafkaSettings(bootstrap_servers=servers).bootstrap_servers == servers
    else:
        with pytest.raises(ValidationError, match="write host:port"):
            KafkaSettings(bootstrap_servers=servers)


def test_client_options_are_what_a_kafka_client_takes() -> None:
    """A TLS context exists exactly where the protocol is encrypted, and it verifies the broker."""
    account = {"sasl_username": "u", "sasl_password": "p"}
    for protocol in ("PLAINTEXT", "SASL_PLAINTEXT"):
        plain = KafkaSettings.model_validate({"security_protocol": protocol, **account})
        assert plain.client_options()["ssl_context"] is None
    options = KafkaSettings.model_validate({"security_protocol": "SASL_SSL", **account}).client_options()
    assert options["ssl_context"].verify_mode is ssl.CERT_REQUIRED
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("u", "p")


def test_every_setting_has_a_default_and_every_section_refuses_strangers() -> None:
    """The first run needs no configuration, and no section lets a typo through."""

    def check(section: type[BaseModel]) -> None:
        assert section.model_config.get("extra") == "forbid"
        for field in section.model_fields.values():
            assert not field.is_required()
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                check(field.annotation)

    check(Settings)
