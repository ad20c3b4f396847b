"""The web page over a real Kafka, and in a real browser where there is one."""

import asyncio
import http.client
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import Response

from pelton.producers.reports.assembly.pdf import find_browser
from pelton.producers.reports.web.app import ReportPages
from pelton.producers.reports.web.job_index import JobIndex

BROWSER_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=20000",  # of the timers of the page, which stop while it waits for an answer
)


class WatchedPages(ReportPages):
    """Notes when a page's script first asks for news, and lets it wait for more until there is some."""

    def __init__(self, place) -> None:
        super().__init__(JobIndex(place.kafka, place.reports), place.client())
        self.asked, self.news = asyncio.Event(), asyncio.Event()

    async def states(self, request: Request) -> Response:
        if self.asked.is_set():
            async with asyncio.timeout(60):
                await self.news.wait()
        self.asked.set()
        return await super().states(request)


@asynccontextmanager
async def served(place, pages: ReportPages | None = None) -> AsyncIterator[int]:
    """The page on a port of its own."""
    pages = pages or WatchedPages(place)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(pages.application(), log_level="warning", access_log=False))
    running = asyncio.create_task(server.serve(sockets=[listening]))
    async with asyncio.timeout(60):
        while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
            await asyncio.sleep(0.02)
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        await running


async def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    def talk() -> tuple[int, dict[str, str], str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode()
        finally:
            connection.close()

    return await asyncio.to_thread(talk)


async def until(port: int, path: str, text: str) -> str:
    async with asyncio.timeout(60):
        while text not in (page := (await ask(port, path))[2]):  # noqa: ASYNC110  # the page is asked from outside
            await asyncio.sleep(0.1)
    return page


async def test_jobs_and_reports_are_shown(place, make_job, say):
    """A running job shows its progress, a finished one its report; as JSON and Markdown too."""
    attack = "<script>alert(1)</script>"
    async with place.service(), served(place) as port, place.client() as client:
        assert "No jobs yet" in (await ask(port, "/"))[2]
        submitted = await client.submit(make_job(entity=f"Acme {attack}"))
        page = await until(port, "/", "0 of 3")
        assert attack not in page
        assert (await ask(port, "/reports/job"))[0] == 404
        async with place.worker(lambda prompt: say(f"about {prompt[:3]} {attack}")):
            await client.wait(submitted, timeout_s=60)
        page = await until(port, "/", 'href="/reports/job"')
        status, headers, report = await ask(port, "/reports/job")
        assert status == 200
        assert "about Sum" in report
        assert attack not in report
        assert "default-src" in report
        assert headers["x-content-type-options"] == "nosniff"
        assert '"about Sum' in (await ask(port, "/reports/job?as=json"))[2]
        assert attack not in (await ask(port, "/reports/job?as=markdown"))[2]
        assert (await ask(port, "/reports/..%2f..%2fetc"))[0] == 404


async def test_other_sites_are_refused(place, make_job):
    """A name that another site leads here by, and a form of another site, are refused; the page's own form cancels."""
    async with place.service(), served(place) as port, place.client() as client:
        assert (await ask(port, "/", Host="evil.example"))[0] == 400
        submitted = await client.submit(make_job())
        await until(port, "/", "0 of 3")
        path = "/reports/job/cancel"
        assert (await ask(port, path, "POST", Origin="http://evil.example"))[0] == 403
        assert (await ask(port, path, "POST", Origin=f"http://127.0.0.1:{port}"))[0] == 303
        report = await client.wait(submitted, timeout_s=60)
    assert report.state == "cancelled"


@pytest.mark.skipif(find_browser() is None, reason="no Chromium or Chrome is installed")
async def test_in_a_browser(place, make_job, say, tmp_path):
    """The page's script follows a job from running to done without being loaded again."""
    pages = WatchedPages(place)
    async with place.service(), served(place, pages) as port, place.client() as client:
        submitted = await client.submit(make_job())
        await until(port, "/", "0 of 3")
        looking = asyncio.create_task(asyncio.to_thread(dump, f"http://127.0.0.1:{port}/", tmp_path))
        async with asyncio.timeout(60):
            await pages.asked.wait()
        async with place.worker(lambda prompt: say(prompt[:3])):
            await client.wait(submitted, timeout_s=60)
            await until(port, "/", 'href="/reports/job"')
            pages.news.set()
            page = await looking
    assert 'href="/reports/job"' in page
    assert "Acme: done." in page


def dump(address: str, folder: Path) -> str:
    """The page as its script leaves it."""
    command = [str(find_browser()), *BROWSER_OPTIONS, f"--user-data-dir={folder}/profile"]
    done = subprocess.run([*command, "--dump-dom", address], capture_output=True, text=True, timeout=90, check=True)
    return done.stdout
