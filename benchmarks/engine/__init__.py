"""The engine beside its peers, on a CPU and on a GPU."""
