"""Redis as a channel layer: one plan of what to ask, and two executors that carry it out."""
