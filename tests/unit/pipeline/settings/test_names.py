"""The nearest known setting to a misspelt one, and which variables mean none at all."""

import pytest

from pelton.pipeline.settings.loading import NAMES, SettingsError, load_settings
from pelton.pipeline.settings.names import variable_of


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("kafka.bootstrap_server", "kafka.bootstrap_servers"),
        ("kafka.password", "kafka.sasl_password"),
        ("Kafka.Group_Id", "kafka.group_id"),
        ("kafak", "kafka"),
        ("kafak.group_i", "kafka.group_id"),
        ("engine.simulate", "engine.simulated"),
        ("engine.simulated.ttft", "engine.simulated.ttft_ms"),
        ("simulated", "engine.simulated"),
        ("kafka.redis_url", "cache.redis_url"),
        ("port", "serve.port"),
        ("bootstrap_server", "kafka.bootstrap_servers"),
        ("kafka.zzz", None),
        ("zzz", None),
        ("", None),
    ],
)
def test_nearest(name, nearest):
    """The section is kept where it is known, found where it is misspelt, and left where another has the very name."""
    assert NAMES.nearest(name) == nearest


def test_a_known_name_is_its_own_nearest():
    """Whatever is added later, a right name is never talked out of."""
    for name in NAMES.leaves:
        assert NAMES.nearest(name) == name


@pytest.mark.parametrize("name", ["PELTON_KAFAK__GROUP_ID", "pelton_kafak__group_id", "PELTON__KAFKA__GROUP_ID"])
def test_a_variable_of_an_unknown_section_is_refused(name, monkeypatch):
    """It would be ignored, and a fleet run on defaults; the message has the right variable, never the value."""
    monkeypatch.setenv(name, "hunter2")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert f"\n  {name}: there is no section " in str(caught.value)
    assert "did you mean PELTON_KAFKA__GROUP_ID (kafka.group_id)?" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["PELTON_CONFIG", "PELTON_TEST_SEED", "PELTON_CACHE_DIR", "PELTON", "X_PELTON_A__B", "A__B"]
)
def test_variables_that_are_no_settings_are_left_alone(name):
    """Scripts around Pelton have variables of their own."""
    assert NAMES.strange_variables([name]) == {}


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("model.zzz", "known here: context_length, device, dtype, gguf_file, path, served_name, trust_remote_code"),
        (
            "zzz",
            (
                "known here: cache, engine, kafka, log, model, overload, quota, reports, routing, schemas, serve, "
                "session, traces, webhook, worker"
            ),
        ),
    ],
)
def test_what_resembles_nothing_is_told_what_there_is(name, hint):
    """`pelton config show` cannot list the names while a fault is in the way, so the message does."""
    assert NAMES.hint(name) == hint


def test_a_variable_that_resembles_nothing_is_told_the_sections():
    """The section is at fault, whatever its settings are called."""
    (fault,) = NAMES.strange_variables(["PELTON_ZZZ__QQQ"]).values()
    assert fault.startswith("there is no section 'zzz'; known here: cache, engine, ")


def test_the_variable_of_every_setting_is_known():
    """No right variable is called strange."""
    assert NAMES.strange_variables(map(variable_of, NAMES.leaves)) == {}
