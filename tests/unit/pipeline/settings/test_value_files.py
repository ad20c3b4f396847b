"""Values in files, as Docker and Kubernetes hand secrets over."""

import os
from pathlib import Path

import pytest

from pelton.pipeline.settings.loading import SettingsError, load_settings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine's own configuration reaches these tests."""
    for name in os.environ:
        if name.upper().startswith("PELTON_"):
            monkeypatch.delenv(name)


def test_a_file_holds_the_value(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of any setting, tables included; over the TOML file; without the end of its line, but with all other spaces."""
    config = tmp_path / "pelton.toml"
    config.write_text('[kafka]\nsasl_password = "from the TOML file"\nsasl_username = "me"\n')
    (tmp_path / "password").write_bytes(b" of two words \r\n")
    (tmp_path / "keys").write_text('{"acme": "a-secret-of-enough-characters"}\n')
    monkeypatch.setenv("PELTON_KAFKA__SASL_PASSWORD_FILE", str(tmp_path / "password"))
    monkeypatch.setenv("pelton_kafka__tenant_keys_file", str(tmp_path / "keys"))
    kafka = load_settings(config).kafka
    assert kafka.sasl_password is not None
    assert kafka.sasl_password.get_secret_value() == " of two words "
    assert kafka.sasl_username == "me"
    assert set(kafka.tenant_keys) == {"acme"}


def test_a_setting_of_that_name_is_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """`worker.ready_file` is a path, and no file holds `worker.ready`."""
    monkeypatch.setenv("PELTON_WORKER__READY_FILE", "/run/ready")
    assert load_settings().worker.ready_file == Path("/run/ready")


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "cannot be read: No such file"), (b"\xff", "no text in UTF-8"), (b"x" * 1_048_577, "1,048,576 bytes")],
)
def test_a_file_that_holds_none(
    content: bytes | None, told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The variable and the file are named, and nothing of what is in it."""
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("PELTON_CACHE__PASSWORD_FILE", str(file))
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert f"PELTON_CACHE__PASSWORD_FILE: {file}" in str(caught.value)
    assert told in str(caught.value)


def test_a_value_and_a_file_are_one_too_many(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither is preferred in silence."""
    (tmp_path / "secret").write_text("one")
    monkeypatch.setenv("PELTON_CACHE__PASSWORD_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv("PELTON_CACHE__PASSWORD", "another")
    with pytest.raises(SettingsError, match="PELTON_CACHE__PASSWORD_FILE: PELTON_CACHE__PASSWORD is set too"):
        load_settings()


def test_a_file_for_no_setting_is_a_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A typo in its name is found like any other."""
    monkeypatch.setenv("PELTON_CACHE__PASWORD_FILE", str(tmp_path))
    with pytest.raises(SettingsError, match=r"cache\.pasword_file: unknown setting"):
        load_settings()
