"""What `runserver` needs: an interface server as a child, and pages for code that does not load."""
