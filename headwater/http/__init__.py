"""The conventions of all our HTTP: errors, bodies, paging, preferences."""
