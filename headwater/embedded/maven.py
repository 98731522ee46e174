"""Fetching Kafka's jars from Maven Central, with jgo.

`python -m headwater.embedded.maven` renews `kafka.lock` for another version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import jgo.maven
import truststore
from rich.console import Console
from rich.progress import Progress

from headwater.embedded.jars import JarsBroken, keep

KAFKA = "org.apache.kafka:kafka_2.13:4.3.1"


def fetch_all(missing: Mapping[str, Path], lock: Mapping[str, str], repository: Path) -> None:
    """Fetch each jar to its path, if its SHA-256 is what the lock says.

    Raises:
        JarsBroken: it is not, or can't be fetched.
    """
    # a bar where somebody watches, a line elsewhere
    console = Console(stderr=True)
    if not console.is_terminal:
        console.print(f"Fetching Kafka ({len(missing)} files)")
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("Fetching Kafka", total=len(missing))
        context = jgo.maven.MavenContext(repo_cache=repository)
        truststore.inject_into_ssl()  # the client knows only the certificates that it brings along
        try:
            for coordinates, path in missing.items():
                _fetch(context, coordinates, lock[coordinates], path)
                progress.advance(task)
        finally:
            truststore.extract_from_ssl()


def _fetch(context: jgo.maven.MavenContext, coordinates: str, digest: str, path: Path) -> None:
    group, artifact, version = coordinates.split(":")
    component = context.project(group, artifact).at_version(version)
    try:
        fetched = component.artifact().resolve()
    except (OSError, RuntimeError) as exc:  # jgo's own, and those of its HTTP client
        raise JarsBroken(
            f"{coordinates} can't be fetched: {exc}; is there a network? Run it again to go on"
        ) from exc
    keep(coordinates, fetched, digest, path)


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
