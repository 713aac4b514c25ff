"""What a run shows in the end.

``summary``: all figures of a run as one JSON value. ``page``: the self-contained HTML report of it, drawn by ``charts``
(SVG). ``table``: the result table in a terminal.
"""
