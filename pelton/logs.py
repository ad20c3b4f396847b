"""Logging for the command line: one line an event, on stderr."""

import logging

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def configure_logging(*, verbose: bool) -> None:
    """Ours at INFO, other people's at WARNING; with `verbose` ours at DEBUG and theirs at INFO."""
    logging.basicConfig(format=FORMAT, level=logging.INFO if verbose else logging.WARNING)
    for package in ("pipeline", "cache", "producers", "workers", "pelton"):
        logging.getLogger(package).setLevel(logging.DEBUG if verbose else logging.INFO)
