"""Reading the logs of a hub for what must not be in them: tokens, and personal data."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from tests.hub import SECRETS

# one letter before the sign is enough, and more would try every start of a long word to its end
_EMAIL = re.compile(r"[\w.+-]@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}")
_TOKEN = re.compile(r"[\w-]{64,}")


def leaks_in(folder: Path, personal: Iterable[str] = ()) -> list[str]:
    """The lines of all logs in `folder` that hold a token or a text of `personal`.

    In the logs of our own processes nothing that looks like an email address may stand either.
    """
    forbidden = [*SECRETS, *personal]
    found = []
    for path in sorted(folder.glob("*.log")):
        is_ours = path.name.startswith(("web", "processor"))
        whole = path.read_text(errors="replace")
        # a token of a test stands in a long word, if anywhere: few are to be searched for many tokens
        words = "\n".join(_TOKEN.findall(whole))
        present = [t for t in forbidden if t in (words if _TOKEN.fullmatch(t) else whole)]
        found += [
            f"{path.name}: {line.rstrip()[:500]}"
            for line in whole.split("\n")
            if any(text in line for text in present) or (is_ours and _EMAIL.search(line))
        ]
    return found
