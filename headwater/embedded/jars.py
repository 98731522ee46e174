"""Kafka's jars: fetched once, checked against the lock, kept in a cache folder outside the checkout.

The lock (`kafka.lock`) has a line per jar: coordinates and SHA-256. `python -m headwater.embedded.maven`
renews it for another version.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from importlib.resources import files
from pathlib import Path

from headwater.errors import HubError


class JarsBroken(HubError):
    """A jar can't be fetched or kept, or is not what the lock says."""


def cache_folder() -> Path:
    """HEADWATER_CACHE, or `headwater` in the user's cache folder."""
    named = os.environ.get("HEADWATER_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "headwater"
    except RuntimeError as exc:
        raise JarsBroken("there is no home folder to cache Kafka in: set HEADWATER_CACHE") from exc


def read_lock() -> dict[str, str]:
    """SHA-256 by coordinates (group:artifact:version)."""
    text = files("headwater.embedded").joinpath("kafka.lock").read_text(encoding="utf-8")
    return dict(line.split() for line in text.splitlines() if line and not line.startswith("#"))


def fetch_jars() -> list[Path]:
    """The jars, fetched if they are not there yet, or broken; no network is needed once they are whole.

    All are read each time (45 MB, 0.2 s): of a broken one Java says anything but that.

    Raises:
        JarsBroken: what came is not what the lock says.
    """
    lock = read_lock()
    folder = cache_folder() / "kafka"
    wanted = {coordinates: folder / _file_name(coordinates) for coordinates in lock}
    try:
        missing = {c: path for c, path in wanted.items() if not _is_whole(path, lock[c])}
    except OSError as exc:
        raise JarsBroken(
            f"{exc.filename} can't be read: {exc.strerror}; HEADWATER_CACHE names another folder"
        ) from exc
    if missing:
        # its HTTP client would be half of the start of `headwater up`
        from headwater.embedded.maven import fetch_all

        try:
            folder.mkdir(parents=True, exist_ok=True)
            # of its own: what was begun and broken off must not be found again
            with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="maven-") as repository:
                fetch_all(missing, lock, Path(repository))
        except OSError as exc:
            raise JarsBroken(
                f"Kafka can't be fetched into {folder}: {exc}; is there a network? HEADWATER_CACHE "
                "names another folder"
            ) from exc
    return list(wanted.values())


def _is_whole(path: Path, digest: str) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == digest
    except (FileNotFoundError, NotADirectoryError):
        return False


def _file_name(coordinates: str) -> str:
    _, artifact, version = coordinates.split(":")
    return f"{artifact}-{version}.jar"


def keep(coordinates: str, fetched: Path, digest: str, path: Path) -> None:
    """Copy a fetched file to `path`, if its SHA-256 is `digest`; whole or not at all.

    Raises:
        JarsBroken: it is not.
    """
    found = hashlib.sha256(fetched.read_bytes()).hexdigest()
    if found != digest:
        raise JarsBroken(f"{coordinates} has SHA-256 {found}, the lock says {digest}")
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        shutil.copyfile(fetched, part)
        part.replace(path)  # another process may fetch the same: either file is whole
    finally:
        part.unlink(missing_ok=True)  # a full disk
