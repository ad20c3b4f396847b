"""The files that benchmarks read; `benchmarks/data/ATTRIBUTION.md` says whose they are."""

from pathlib import Path

DATA = Path(__file__).parents[1] / "data"
TATQA = DATA / "tatqa_dev.jsonl"
PROSE = DATA / "prose.yaml"
