"""A Celery task that returns its argument: Redis as its broker and for its results, acknowledged after it has run."""

import os

from celery import Celery

QUEUE = "echo"

app = Celery("echo", broker=os.environ["BENCH_CELERY_BROKER"], backend=os.environ["BENCH_CELERY_RESULTS"])
app.conf.update(
    task_acks_late=True,
    task_default_queue=QUEUE,
    task_serializer="json",
    result_serializer="json",
    accept_content=["json"],
    worker_prefetch_multiplier=64,
    worker_disable_rate_limits=True,
)


@app.task(name="echo")  # type: ignore[untyped-decorator, unused-ignore]  # Celery is not installed where types are checked
def echo(body: str) -> str:
    return body
