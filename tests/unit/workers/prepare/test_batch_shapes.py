"""The batch files of the integration test, one by one and without a broker: each is taken, or refused by name."""

import orjson
import pytest

from pelton.pipeline.errors import UnsupportedParameter
from pelton.pipeline.wire.decoding import decode_request
from pelton.workers.prepare.simulated_codec import SimulatedCodec
from tests.integration.batch_shapes import REFUSED, RUN


@pytest.mark.parametrize("name", RUN)
def test_a_file_runs_unchanged(name: str) -> None:
    codec = SimulatedCodec()
    for body in RUN[name]:
        request = decode_request(orjson.dumps(body), max_bytes=1_000_000)
        prompt = codec.render(request.messages, request)
        form = codec.form(request, prompt)
        wants_form = request.demanded_tools or body.get("response_format", {"type": "text"})["type"] != "text"
        assert (form is not None) is bool(wants_form)


@pytest.mark.parametrize("name", REFUSED)
def test_what_there_is_not_is_named(name: str) -> None:
    body, param = REFUSED[name]
    with pytest.raises(UnsupportedParameter) as caught:
        decode_request(orjson.dumps(body), max_bytes=1_000_000)
    assert caught.value.param == param
