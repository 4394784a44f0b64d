"""Programs of processes that use a channel layer, as `layers` tells them line by line."""
