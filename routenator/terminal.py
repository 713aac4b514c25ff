"""The one way by which text reaches the terminal: control characters are shown, not sent.

Job names, log lines, queries, file names and replies of models come from elsewhere. An escape sequence in one of them
could move the cursor, hide lines, change the window's title or fill the clipboard of whoever looks at it.
"""

from __future__ import annotations

import re
import sys

# All but tab and newline: C0, DEL and C1, the bidirectional embeddings, overrides and isolates, which show text out of
# its order, and halves of surrogate pairs, which file names with odd bytes have.
_CONTROL = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff]")


def shown(text: str) -> str:
    r"""Replace control characters with ``\u001b`` and the like, which in JSON text also means the same."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def put(text: object, *, err: bool = False, end: str = "\n") -> None:
    """Print text to standard output or standard error."""
    print(shown(str(text)), file=sys.stderr if err else sys.stdout, end=end, flush=True)
