"""Kafka's jars: fetched once, checked against the lock, kept in a cache folder outside the checkout.

The lock (`kafka.lock`) has a line per jar: coordinates and SHA-256. `python -m headwater.embedded.jars`
renews it for another version.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from importlib.resources import files
from pathlib import Path

import jgo.maven
from rich.progress import Progress

from headwater.errors import HubError

KAFKA = "org.apache.kafka:kafka_2.13:4.3.1"


class JarsBroken(HubError):
    """A jar is not what the lock says."""


def cache_folder() -> Path:
    """HEADWATER_CACHE, or `headwater` in the user's cache folder."""
    named = os.environ.get("HEADWATER_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "headwater"


def read_lock() -> dict[str, str]:
    """SHA-256 by coordinates (group:artifact:version)."""
    text = files("headwater.embedded").joinpath("kafka.lock").read_text(encoding="utf-8")
    return dict(line.split() for line in text.splitlines() if line and not line.startswith("#"))


def fetch_jars() -> list[Path]:
    """The jars, fetched if they are not there yet; no network is needed once they are.

    Raises:
        JarsBroken: what came is not what the lock says.
    """
    lock = read_lock()
    folder = cache_folder() / "kafka"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {coordinates: folder / _file_name(coordinates) for coordinates in lock}
    missing = {c: path for c, path in wanted.items() if not path.exists()}
    if missing:
        with Progress(transient=not sys.stderr.isatty()) as progress:
            task = progress.add_task("Fetching Kafka", total=len(missing))
            context = jgo.maven.MavenContext(repo_cache=cache_folder() / "maven")
            for coordinates, path in missing.items():
                _fetch(context, coordinates, lock[coordinates], path)
                progress.advance(task)
        shutil.rmtree(cache_folder() / "maven", ignore_errors=True)
    return list(wanted.values())


def _file_name(coordinates: str) -> str:
    _, artifact, version = coordinates.split(":")
    return f"{artifact}-{version}.jar"


def _fetch(context: jgo.maven.MavenContext, coordinates: str, digest: str, path: Path) -> None:
    group, artifact, version = coordinates.split(":")
    component = context.project(group, artifact).at_version(version)
    fetched = component.artifact().resolve()
    found = hashlib.sha256(fetched.read_bytes()).hexdigest()
    if found != digest:
        raise JarsBroken(f"{coordinates} has SHA-256 {found}, the lock says {digest}")
    part = path.with_suffix(f".{os.getpid()}.part")
    shutil.copyfile(fetched, part)
    part.replace(path)  # another process may fetch the same: either file is whole


def renew_lock() -> None:
    """Resolve Kafka's artifacts and write their sums; needs the network."""
    lines = [f"# {KAFKA}: coordinates and SHA-256 of every jar"]
    for artifact in jgo.resolve(KAFKA):
        digest = hashlib.sha256(artifact.resolve().read_bytes()).hexdigest()
        lines.append(f"{artifact.groupId}:{artifact.artifactId}:{artifact.version} {digest}")
    lock = Path(__file__).with_name("kafka.lock")
    lock.write_text("\n".join([lines[0], *sorted(lines[1:])]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    renew_lock()
