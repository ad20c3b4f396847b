"""The topics of report jobs are read whatever codec compresses them."""

import pytest

from pelton.producers.reports.assembly.report import JobState
from tests.integration.compressed import CODECS, new_topics_compressed


@pytest.fixture(params=CODECS, autouse=True)
def _compressed(request):
    with new_topics_compressed(request.param):
        yield


async def test_a_job_is_done_over_compressed_topics(place, make_job, say):
    """Jobs, sections, statuses and results come back from Kafka; what is known of the sections is not sent again."""
    async with place.worker(lambda prompt: say(f"about {prompt[:3]}")), place.client() as client:
        async with place.service():
            report = await client.run(make_job(), timeout_s=60)
        async with place.service():
            again = await client.run(make_job(), timeout_s=60)
        assert (await client.statuses())["job"].state is JobState.DONE
    assert [section.text for section in report.sections] == ["about One", "about Two", "about Sum"]
    assert [section.text for section in again.sections] == ["about One", "about Two", "about Sum"]
    assert len(place.prompts) == 3
