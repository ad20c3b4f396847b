"""Financial reports as asynchronous jobs, with figures that are traced to their sources."""
