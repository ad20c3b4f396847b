"""What benchmarks show their findings with: pages, plots, and what processes took of the machine."""
