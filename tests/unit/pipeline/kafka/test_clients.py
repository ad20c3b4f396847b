"""Clients of Kafka are closed by one module: aiokafka's own ways forget that they were cancelled."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[4]
HELPERS = ROOT / "pipeline" / "kafka" / "clients.py"
CLOSES = re.compile(r"await \w*\.?_?(admin|consumer|producer|client|member)\.(close|stop)\(\)")


def test_nobody_closes_a_client_of_kafka_by_itself() -> None:
    """What is written so in the one module is found, so the search can find it elsewhere."""
    assert CLOSES.search("await self._admin.close()")
    assert CLOSES.search("await admin.close()")
    files = [path for room in ("pelton", "pipeline", "producers", "workers") for path in (ROOT / room).rglob("*.py")]
    assert HELPERS in files
    own = [str(path.relative_to(ROOT)) for path in files if path != HELPERS and CLOSES.search(path.read_text())]
    assert own == []
