"""One module per resource that is written."""
