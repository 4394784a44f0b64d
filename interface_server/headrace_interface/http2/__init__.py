"""HTTP/2 (RFC 9113) on the library h2: requests of a connection side by side, each a stream of its own."""
