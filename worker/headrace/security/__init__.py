"""What protects consumers from other sites' pages."""
