"""One module per resource that is configured."""
