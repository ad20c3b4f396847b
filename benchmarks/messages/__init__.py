"""Messages per second of a Pelton worker and of what else could stand in its place, on one broker."""
