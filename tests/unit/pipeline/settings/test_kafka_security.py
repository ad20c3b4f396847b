"""Files of certificates and tokens: what is in them is looked at when the settings are read."""

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme
from pydantic import ValidationError

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.settings.kafka_security import MAX_TOKEN_BYTES, TokenFile, TokenUnusable


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    return tmp_path / "token"


def test_a_token_is_what_the_file_holds_now(token_file: Path) -> None:
    """Without the space around it; written anew, it is the new one."""
    token_file.write_text(" one.two.three\n")
    provider = TokenFile(token_file)
    assert provider.read() == "one.two.three"
    token_file.write_text("four")
    assert provider.read() == "four"
    assert asyncio.run(provider.token()) == "four"


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"two words", b"a\x01auth=b", "ä".encode(), b"x" * MAX_TOKEN_BYTES * 2]
)
def test_what_is_no_token_is_not_sent(token_file: Path, content: bytes) -> None:
    """Nothing that could end the token's field and begin another."""
    token_file.write_bytes(content)
    with pytest.raises(TokenUnusable, match="holds no token"):
        TokenFile(token_file).read()


def test_a_mechanism_needs_its_own_kind_of_proof(token_file: Path) -> None:
    """A token for OAUTHBEARER, and no password beside it."""
    oauth = {"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER"}
    with pytest.raises(ValidationError, match="needs sasl_oauth_token_file"):
        KafkaSettings.model_validate(oauth)
    token_file.write_text("token")
    options = KafkaSettings.model_validate({**oauth, "sasl_oauth_token_file": token_file}).client_options()
    assert options["sasl_oauth_token_provider"] == TokenFile(token_file)


def test_certificates_are_shown_where_the_protocol_has_any(tmp_path: Path) -> None:
    """Key and certificate in one file, or in two; what cannot be used is a fault only where it would be used."""
    certificate = trustme.CA().issue_cert("client.example")
    both, chain, key = tmp_path / "both.pem", tmp_path / "chain.pem", tmp_path / "key.pem"
    certificate.private_key_and_cert_chain_pem.write_to_path(both)
    certificate.cert_chain_pems[0].write_to_path(chain)
    certificate.private_key_pem.write_to_path(key)
    for files in ({"ssl_certfile": both}, {"ssl_certfile": chain, "ssl_keyfile": key}):
        context = KafkaSettings.model_validate({"security_protocol": "SSL", **files}).client_options()["ssl_context"]
        assert context.verify_mode is ssl.CERT_REQUIRED
    with pytest.raises(ValidationError, match="ssl_certfile and ssl_keyfile"):
        KafkaSettings.model_validate({"security_protocol": "SSL", "ssl_certfile": chain})
    KafkaSettings.model_validate({"security_protocol": "PLAINTEXT", "ssl_certfile": chain})
    with pytest.raises(ValidationError, match="ssl_keyfile has no use without ssl_certfile"):
        KafkaSettings.model_validate({"ssl_keyfile": key})


@pytest.mark.parametrize(("copies", "usable"), [(-1, True), (3, True), (0, False), (-2, False)])
def test_copies_of_a_topic(copies: int, usable: bool) -> None:
    """-1 is the broker's own number."""
    if usable:
        assert KafkaSettings(replication_factor=copies).copies["replication_factor"] == copies
    else:
        with pytest.raises(ValidationError, match="replication_factor"):
            KafkaSettings(replication_factor=copies)
