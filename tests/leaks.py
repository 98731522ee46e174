"""Reading the logs of a hub for what must not be in them: tokens, and personal data."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from tests.hub import SECRETS

_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}")


def leaks_in(folder: Path, personal: Iterable[str] = ()) -> list[str]:
    """The lines of all logs in `folder` that hold a token or a text of `personal`.

    In the logs of our own processes nothing that looks like an email address may stand either.
    """
    forbidden = [*SECRETS, *personal]
    found = []
    for path in sorted(folder.glob("*.log")):
        is_ours = path.name.startswith(("web", "processor"))
        with path.open(errors="replace") as lines:
            found += [
                f"{path.name}: {line.rstrip()[:500]}"
                for line in lines
                if any(text in line for text in forbidden) or (is_ours and _EMAIL.search(line))
            ]
    return found
