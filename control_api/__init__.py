"""Configuration over HTTP: workspaces, nodes, sources. Writes to Postgres directly."""
