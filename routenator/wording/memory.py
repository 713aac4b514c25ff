"""Memory inside compiled code: buffers that grow, and arrays without an owner."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numba.core import cgutils
from numba.extending import intrinsic


@njit(cache=True, inline="always")
def room(buffer: Any, end: Any, more: Any) -> Any:
    """A buffer with the same bytes and room for ``more`` after ``end``."""
    if buffer.size - end >= more:
        return buffer
    larger = np.empty(2 * buffer.size + more, dtype=np.uint8)
    larger[:end] = buffer[:end]
    return larger


@intrinsic
def bare_of(context: Any, array: Any) -> Any:
    """The same memory without an owner: no references to count in the inner loops, which would take more than twice as
    long.
    """

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        made = context.make_array(signature.args[0])(context, builder, arguments[0])
        made.meminfo = cgutils.get_null_value(made.meminfo.type)
        made.parent = cgutils.get_null_value(made.parent.type)
        return made._getvalue()

    return array(array), codegen
