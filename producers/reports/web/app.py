"""The web application: for people on this machine. It has no accounts, so it belongs on a loopback address."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from pelton.producers.reports.assembly.html import to_page
from pelton.producers.reports.assembly.markdown import to_markdown
from pelton.producers.reports.assembly.report import Report
from pelton.producers.reports.client import ReportClient
from pelton.producers.reports.service.records import JobStatus
from pelton.producers.reports.web.job_index import JobIndex

HOSTS = ("127.0.0.1", "localhost", "[::1]")
MAX_SHOWN = 200
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
_ASSETS = {"reports.css": "text/css", "reports.js": "text/javascript"}

_PAGES = Environment(
    loader=PackageLoader("pelton.producers.reports.web", "assets"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


class ReportPages:
    """The pages, over an index of jobs and a client that cancels them."""

    def __init__(self, index: JobIndex, client: ReportClient) -> None:
        self._index = index
        self._client = client

    def application(self, hosts: tuple[str, ...] = HOSTS) -> Starlette:
        """`hosts` are the names it may be asked under: another site's name that leads here is refused."""

        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            async with self._client, self._index.following():
                yield

        routes = [
            Route("/", self.jobs),
            Route("/jobs.json", self.states),
            Route("/reports/{job_id}", self.report),
            Route("/reports/{job_id}/cancel", self.cancel, methods=["POST"]),
            Route("/assets/{name}", self.asset),
        ]
        middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)]
        return Starlette(routes=routes, middleware=middleware, lifespan=lifespan)

    async def jobs(self, _: Request) -> Response:
        statuses = self._index.statuses()
        page = _PAGES.get_template("jobs.html.j2").render(
            jobs=[_row(status) for status in statuses[:MAX_SHOWN]], more=max(0, len(statuses) - MAX_SHOWN)
        )
        return HTMLResponse(page, headers={**_HEADERS, "Content-Security-Policy": _POLICY})

    async def states(self, _: Request) -> Response:
        """What the page's script asks for every two seconds."""
        return JSONResponse([_row(status) for status in self._index.statuses()[:MAX_SHOWN]], headers=_HEADERS)

    async def report(self, request: Request) -> Response:
        """As a page; as JSON or Markdown with `?as=json` or `?as=markdown`."""
        job_id = request.path_params["job_id"]
        report = await self._found(job_id)
        kind = request.query_params.get("as", "html")
        if kind == "json":
            return Response(report.encode(), media_type="application/json", headers=_HEADERS)
        if kind == "markdown":
            return PlainTextResponse(to_markdown(report), headers=_HEADERS)
        return HTMLResponse(to_page(report, home="/"), headers=_HEADERS)

    async def cancel(self, request: Request) -> Response:
        """Only from a form of this site: another site's form has that site's origin."""
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
            raise HTTPException(403, "A job is cancelled from its own page only.")
        await self._client.cancel(request.path_params["job_id"])
        return RedirectResponse("/", status_code=303)

    async def asset(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _ASSETS:
            raise HTTPException(404)
        content = resources.files("pelton.producers.reports.web").joinpath("assets", name).read_bytes()
        return Response(content, media_type=_ASSETS[name], headers=_HEADERS)

    async def _found(self, job_id: str) -> Report:
        report = await self._index.report(job_id)
        if report is None:
            status = self._index.status(job_id)
            said = "is not known" if status is None else f"has no report: it is {status.state}"
            raise HTTPException(404, f"Job {job_id} {said}.")
        return report


def _row(status: JobStatus) -> dict[str, object]:
    """A job as the list shows it."""
    return {
        "id": status.id,
        "name": status.entity or status.id,
        "title": ", ".join(part for part in (status.title, status.period) if part),
        "state": str(status.state),
        "done": status.done,
        "total": status.total,
        "running": ", ".join(status.running),
        "error": status.error or "",
        "final": status.state.final,
    }
