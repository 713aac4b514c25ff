"""Turns candidates into the data set.

``sources`` reads the shards as one sequence of rows. ``merge`` decides which candidates stay, by ``hashing`` (equal
queries), ``near`` (similar ones), ``ambiguity`` and ``quotas``; ``decisions`` holds the result, ``spill`` its scratch
files. ``writer`` writes the files of the data set, cut by ``files``, in the formats of ``export``. ``keys``: normal
forms and the split by hash. ``position``: where a query mentions its category. ``distribution``: distance of the result
from the target. ``rounds``: measurements for the closed loop. ``card``: the data set's README.
"""
