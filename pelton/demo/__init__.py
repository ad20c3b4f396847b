"""The demo: real questions over real financial tables, through a real broker, to a real model and back."""
