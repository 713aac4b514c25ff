"""From candidates to the data set.

``sources``: the shards as one sequence of rows. ``merge``: which candidates stay, by ``hashing`` (equal queries),
``near`` (alike ones) and ``quotas``; ``decisions`` is what comes of it, ``spill`` its scratch on disk. ``writer``: the
files of the data set, cut by ``files``, in the formats of ``export``. ``keys``: normal forms and the keyed split.
``position``: where a query says its category. ``distribution``: how near the result is to the target. ``rounds``: what
the closed loop learns. ``card``: the data set's README.
"""
