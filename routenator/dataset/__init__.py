"""From candidates to the data set.

``keys``: what makes two queries or calls the same, and the keyed split. ``merge``: which candidates stay (duplicates, conflicts,
leakage, exact quotas). ``writer``: the files of the data set. ``export``: training formats. ``distribution``: how near the result is to
the target. ``card``: the data set's README.
"""
