"""How the hub is run: all HTTP services on one port of one machine, or each in a container."""
