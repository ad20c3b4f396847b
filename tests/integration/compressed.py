"""Topics that hold everything compressed by one codec: the broker sees to it, whatever its producers send."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from aiokafka.admin import NewTopic

CODECS = ("gzip", "snappy", "lz4", "zstd")


@contextmanager
def new_topics_compressed(codec: str) -> Iterator[None]:
    """Every topic that is made in this process meanwhile, by tests or by Pelton."""
    make = NewTopic.__init__

    def with_codec(topic: NewTopic, *arguments: Any, **options: Any) -> None:
        make(topic, *arguments, **options)
        topic.topic_configs = {**topic.topic_configs, "compression.type": codec}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NewTopic, "__init__", with_codec)
        yield
