"""From a job to requests: its sources as prompts show them, the graph of its sections, and what each depends on."""
