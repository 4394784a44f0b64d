"""The channel layers: a folder each."""
