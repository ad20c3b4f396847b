"""What single kernels take, one by one."""
