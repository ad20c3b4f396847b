"""Reports on this machine: all that a report needs, started for it and stopped after."""
