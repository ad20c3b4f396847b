"""`python -m benchmarks.figures`: see `comparison.py`."""

from benchmarks.figures.comparison import main

main()
