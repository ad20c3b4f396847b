"""What PyTorch has no single operation for on a CPU, in C: attention over pages, and what lies between products.

Over the few rows of a decode step most of PyTorch's operations take longer to start than to compute. The sources are
compiled when a model is first made ready, in seconds. Where that is not possible, PyTorch's operations do the same.
"""
