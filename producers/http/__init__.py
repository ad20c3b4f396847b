"""OpenAI's HTTP API in front of the topics: chat completions, files and batches."""
