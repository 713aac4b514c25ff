"""The results of a run, for people.

``summary`` collects all figures of a run in one JSON value. ``page`` renders it as a self-contained HTML report, with
SVG from ``charts``. ``table`` prints it in a terminal.
"""
