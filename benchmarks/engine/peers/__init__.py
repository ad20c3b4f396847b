"""Other engines on the same requests, from the same GGUF file and token ids. All are optional."""
