"""TLS that ends here: certificates, which of them a client gets, and their renewal in a running process."""
