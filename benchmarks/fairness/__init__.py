"""Who gets the engine, measured: on the worker's own order and the engine's own scheduler, in simulated time."""
