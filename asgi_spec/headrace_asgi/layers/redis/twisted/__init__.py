"""The plan carried out inside a Twisted reactor: for interface servers. Nothing else here imports Twisted."""
