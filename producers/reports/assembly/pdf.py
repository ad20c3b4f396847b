"""PDF by a browser of the machine, where there is one."""

import logging
import shutil
import subprocess
import tempfile
from pathlib import Path

log = logging.getLogger(__name__)

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PRINT_S = 60
_OPTIONS = (
    "--headless",
    "--no-sandbox",  # in a container there is none; the page has no script and may load nothing
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-pdf-header-footer",
)


def find_browser() -> str | None:
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def print_pdf(page: str, path: Path) -> bool:
    """Print a page to `path`; False, with a line in the log, where that cannot be done."""
    browser = find_browser()
    if browser is None:
        log.warning("no PDF: none of %s is installed", ", ".join(BROWSERS))
        return False
    with tempfile.TemporaryDirectory(prefix="pelton-pdf-") as folder:
        source = Path(folder, "report.html")
        source.write_text(page, "utf-8")
        command = [browser, *_OPTIONS, f"--user-data-dir={folder}/profile", f"--print-to-pdf={path.absolute()}"]
        try:
            subprocess.run([*command, source.as_uri()], check=True, capture_output=True, timeout=PRINT_S)  # noqa: S603
        except (subprocess.SubprocessError, OSError) as error:
            log.warning("no PDF: %s failed: %s", browser, error)
            return False
    return path.exists()
