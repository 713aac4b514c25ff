"""The routes: the ways of writing a query. Adding one takes one line in ``ROUTES``.

Everything that differs between routes is defined here and only here; the config, the domain's files, the prompts, the
generate stage and the plan all derive from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Route:
    """One way to write queries.

    Attributes:
        writer: ``draft``: no model; the draft is the query, and the route's templates are grammars. ``generator`` or
            ``vision``: the model in the config's ``model.generator`` or ``model.vision``.
        oversample: requests per example of the quota, until acceptance has been measured.
        variables: variables of the route's prompts, in addition to those of all prompts
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
        """Whether its prompts contain an image, which is rendered from a metadata record."""
        return "image" in self.variables


# In the order in which a generate task processes them.
ROUTES: dict[str, Route] = {
    "heuristic": Route("draft", oversample=1.25),
    "text": Route("generator", oversample=2.0),
    "vision": Route("vision", oversample=2.0, variables=("image",)),
}
