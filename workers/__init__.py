"""What runs on the GPU machine: from a fetched record to a published reply."""
