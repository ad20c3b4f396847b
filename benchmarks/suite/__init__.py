"""The quick benchmarks in one go."""
