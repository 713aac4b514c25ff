"""Memory inside compiled code: growing buffers, and arrays without reference counts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numba.core import cgutils
from numba.extending import intrinsic


@njit(cache=True, inline="always")
def room(buffer: Any, end: Any, more: Any) -> Any:
    """Return a buffer with the same bytes and room for ``more`` after ``end``."""
    if buffer.size - end >= more:
        return buffer
    larger = np.empty(2 * buffer.size + more, dtype=np.uint8)
    larger[:end] = buffer[:end]
    return larger


@intrinsic
def bare_of(context: Any, array: Any) -> Any:
    """Return the same memory without an owner, so that numba emits no reference counting for it.

    Counting references in the inner loops would more than double their time. The caller must keep the original array
    alive for as long as this one is used.
    """

    # numba skips the counter of an array whose meminfo is null, and offers no public way to get such an array.
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        made = context.make_array(signature.args[0])(context, builder, arguments[0])
        made.meminfo = cgutils.get_null_value(made.meminfo.type)
        made.parent = cgutils.get_null_value(made.parent.type)
        return made._getvalue()

    return array(array), codegen
