"""One image of an interface process hands all that is open to the next one, under the same process id."""
