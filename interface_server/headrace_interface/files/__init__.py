"""Files that the interface server sends itself: static ones, and those that a view names in its response."""
