"""Free ports of the loopback address, kept over restarts."""

from __future__ import annotations

import errno
import json
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen there now.

    Raises:
        OSError: not because somebody else does: the address is none of ours, or the port not for us.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as exc:
            if exc.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def is_open(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex((LOOPBACK, port)) == 0


def kept_ports(file: Path, names: tuple[str, ...]) -> dict[str, int]:
    """A port per name: the one used before if it is still free, else another free one."""
    before = read_ports(file)
    ports: dict[str, int] = {}
    sockets = []
    for name in names:
        port = before.get(name)
        if port is not None and is_free(port):
            ports[name] = port
            continue
        held = socket.socket()
        held.bind((LOOPBACK, 0))
        sockets.append(held)
        ports[name] = held.getsockname()[1]
    for held in sockets:
        held.close()
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.part")
    part.write_text(json.dumps(ports), encoding="utf-8")
    part.replace(file)
    return ports


def read_ports(file: Path) -> dict[str, int]:
    """The ports used before; none if there is no such file or it is broken."""
    try:
        ports = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    if not isinstance(ports, dict):
        return {}
    return {
        name: port for name, port in ports.items() if isinstance(port, int) and 0 < port < 65536
    }
