"""From grids and prose to tables with addressed cells."""
