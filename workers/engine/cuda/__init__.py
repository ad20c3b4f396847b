"""The continuous engine on an NVIDIA GPU: Triton kernels, and steps that never wait for the host.

Imported only where the engine runs on CUDA: Triton comes with PyTorch there and nowhere else.
"""
