"""The routes: the ways in which a query is written. A new one is one line of ``ROUTES``.

All that differs from route to route is said here, once; the config, the domain's files, the prompts, the generate stage
and the plan derive from it what they need.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Route:
    """One way to write queries.

    Attributes:
        writer: ``draft``: nobody, the draft is the query, and the route's templates are grammars; ``generator`` or
            ``vision``: the model that the config names at ``model.generator`` or ``model.vision``.
        oversample: requests for each wanted example, where no acceptance was measured.
        variables: what the route's prompts see besides the variables that all prompts see
            (routenator/generation/prompts.py).
    """

    writer: Literal["draft", "generator", "vision"]
    oversample: float
    variables: tuple[str, ...] = ()

    @property
    def is_draft(self) -> bool:
        return self.writer == "draft"

    @property
    def has_image(self) -> bool:
        """Whether its prompts see an image, which is drawn from a metadata record."""
        return "image" in self.variables

    @property
    def suffix(self) -> str:
        """What the names of its template files end with."""
        return ".txt" if self.is_draft else ".j2"


# In the order in which a generate task works through them.
ROUTES: dict[str, Route] = {
    "heuristic": Route("draft", oversample=1.25),
    "text": Route("generator", oversample=2.0),
    "vision": Route("vision", oversample=2.0, variables=("image",)),
}
