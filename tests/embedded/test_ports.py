from __future__ import annotations

import socket
from pathlib import Path

from headwater.embedded.ports import LOOPBACK, is_free, is_open, kept_ports


def test_ports_are_kept_over_restarts(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "ports.json"
    first = kept_ports(file, ("a", "b"))
    assert first["a"] != first["b"]
    assert kept_ports(file, ("a", "b")) == first


def test_a_port_that_was_taken_meanwhile_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    first = kept_ports(file, ("a", "b"))
    with socket.create_server((LOOPBACK, first["a"])):
        assert not is_free(first["a"])
        assert is_open(first["a"])
        second = kept_ports(file, ("a", "b"))
    assert second["a"] != first["a"]
    assert second["b"] == first["b"]
    assert not is_open(first["a"])


def test_a_broken_file_is_written_anew(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    for text in ("", "{", "[1]", '{"a": "x"}', '{"a": 0}'):
        file.write_text(text)
        ports = kept_ports(file, ("a",))
        assert kept_ports(file, ("a",)) == ports
