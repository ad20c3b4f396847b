"""`pelton config`: where each setting comes from, what stays hidden, and how faults are told."""

import json
import os

import pytest
from typer.testing import CliRunner

from pelton.cli import app

SECRET = "a-secret-of-enough-characters"  # noqa: S105  # made up


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    """Nothing of the machine's own configuration reaches these tests."""
    for name in os.environ:
        if name.upper().startswith("PELTON_"):
            monkeypatch.delenv(name)


@pytest.fixture
def toml(tmp_path):
    def write(text):
        path = tmp_path / "pelton.toml"
        path.write_text(text, "utf-8")
        return path

    return write


def run(*arguments):
    return CliRunner().invoke(app, ["config", *map(str, arguments)])


def shown(*arguments):
    result = run("show", "--json", *arguments)
    assert result.exit_code == 0, result.output
    return {setting["name"]: setting for setting in json.loads(result.stdout)}


def test_every_setting_is_shown_with_its_default():
    """With nothing set all are there, innermost sections included, and none counts as changed."""
    found = shown()
    assert found["engine.simulated.seed"] == {
        "name": "engine.simulated.seed",
        "value": 0,
        "default": 0,
        "changed": False,
        "source": "default",
        "origin": None,
    }
    assert {"kafka.bootstrap_servers", "serve.port", "reports.keep_days"} <= found.keys()
    assert {setting["source"] for setting in found.values()} == {"default"}
    assert run("show", "--changed").stdout == ""


def test_a_listing_fits_a_terminal():
    """80 columns, but for a value that leaves no room beside its name; each setting is one line."""
    lines = run("show").stdout.splitlines()
    assert len(lines) == len(shown())
    assert [line.split()[0] for line in lines if len(line) > 80] == ["kafka.reply_topics_allowed"]


def test_each_value_has_the_source_that_won(toml, monkeypatch):
    """A variable wins over the file; a section as one JSON value and an entry of a table are variables too."""
    file = toml(
        """
        [kafka]
        group_id = "file"
        partitions = 3
        reply_topic = "inference.replies"
        tenant_topics = {"inference.requests" = "acme"}
        [engine.simulated]
        seed = 7
        """
    )
    monkeypatch.setenv("pelton_kafka__group_id", "variable")
    monkeypatch.setenv("PELTON_ENGINE", '{"simulated": {"ttft_ms": 1}}')
    monkeypatch.setenv("PELTON_KAFKA__TENANT_KEYS__ACME", SECRET)
    monkeypatch.setenv("PELTON_CONFIG", str(file))
    found = shown()
    assert {name: (each["value"], each["source"], each["origin"]) for name, each in shown("--changed").items()} == {
        "kafka.group_id": ("variable", "variable", "PELTON_KAFKA__GROUP_ID"),
        "kafka.partitions": (3, "file", str(file)),
        "kafka.tenant_topics": ({"inference.requests": "acme"}, "file", str(file)),
        "kafka.tenant_keys": ({"acme": "**********"}, "variable", "PELTON_KAFKA__TENANT_KEYS__ACME"),
        "engine.simulated.ttft_ms": (1.0, "variable", "PELTON_ENGINE"),
        "engine.simulated.seed": (7, "file", str(file)),
    }
    assert (found["kafka.reply_topic"]["source"], found["kafka.reply_topic"]["changed"]) == ("file", False)
    lines = run("show", "--changed").stdout.splitlines()
    assert len(lines) == 6
    assert lines[0].split() == ["kafka.group_id", '"variable"', "variable", "PELTON_KAFKA__GROUP_ID"]
    assert run("show", "--changed", "--config", file).stdout.splitlines() == lines


def test_a_value_from_a_file_says_which(tmp_path, monkeypatch):
    """The variable and the file, and not the value."""
    file = tmp_path / "password"
    file.write_text(SECRET)
    monkeypatch.setenv("PELTON_CACHE__PASSWORD_FILE", str(file))
    found = shown("--changed")["cache.password"]
    assert (found["value"], found["source"]) == ("**********", "variable")
    assert found["origin"] == f"PELTON_CACHE__PASSWORD_FILE={file}"


@pytest.mark.parametrize("arguments", [["show"], ["show", "--json"], ["show", "--changed"]])
def test_secrets_are_masked_everywhere(arguments, monkeypatch):
    """A pasted listing gives nothing away: secrets, tables of them, and what URLs carry."""
    for name in ("KAFKA__GROUP_SECRET", "KAFKA__SASL_PASSWORD", "CACHE__PASSWORD", "CACHE__SECRET"):
        monkeypatch.setenv(f"PELTON_{name}", SECRET)
    monkeypatch.setenv("PELTON_KAFKA__TENANT_KEYS", json.dumps({"acme": SECRET}))
    monkeypatch.setenv("PELTON_CACHE__REDIS_URL", f"unix://me:{SECRET}/@x@/run/redis?password={SECRET}")
    monkeypatch.setenv("PELTON_SERVE__STORAGE", f"s3://me:{SECRET}@bucket/prefix")
    result = run(*arguments)
    assert result.exit_code == 0
    assert SECRET not in result.output
    assert "unix://***@/run/redis?***" in result.stdout
    assert "s3://***@bucket/prefix" in result.stdout


def test_check_passes_what_can_be_used(toml):
    """Exit 0, and which file was checked."""
    file = toml("[kafka]\ngroup_id = 'x'")
    result = run("check", "--config", file)
    assert (result.exit_code, result.stderr) == (0, "")
    assert str(file) in result.stdout


@pytest.mark.parametrize("command", ["check", "show"])
def test_faults_of_file_and_variables_are_told_together(command, toml, monkeypatch):
    """Exit 2, each fault under its name; no listing of settings that cannot be used."""
    monkeypatch.setenv("PELTON_KAFAK__GROUP_ID", "x")
    monkeypatch.setenv("PELTON_WORKER__REPLICA", "2")
    file = toml("[kafka]\nbootstrap_server = 'x'\npartitions = 0\n[cahce]\nenabled = true")
    result = run(command, "--config", file)
    assert (result.exit_code, result.stdout) == (2, "")
    for line in (
        "  kafka.bootstrap_server: unknown setting; did you mean kafka.bootstrap_servers?",
        "  kafka.partitions: Input should be greater than 0",
        "  cahce: unknown setting; did you mean cache?",
        "  worker.replica: unknown setting; did you mean worker.replicas?",
        "  PELTON_KAFAK__GROUP_ID: there is no section 'kafak'; did you mean PELTON_KAFKA__GROUP_ID (kafka.group_id)?",
    ):
        assert line in result.stderr.splitlines()


def test_a_variable_with_one_underscore_is_pointed_out(monkeypatch):
    """It is not read, and Kubernetes makes such names itself: a note, no fault."""
    monkeypatch.setenv("PELTON_KAFKA_GROUP_ID", "x")
    monkeypatch.setenv("PELTON_CACHE_DIR", "/x")
    result = run("check")
    assert result.exit_code == 0
    assert result.stderr == "PELTON_KAFKA_GROUP_ID is not read; did you mean PELTON_KAFKA__GROUP_ID?\n"
