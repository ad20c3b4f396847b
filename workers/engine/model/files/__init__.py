"""The files of a model: where they are, whether they are whole, and copies that are unpacked once."""
