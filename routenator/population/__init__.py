"""Population statistics from a sample of real queries: counts only, no query is kept (``domain fit``).

queries.py      a file of queries -> what can be counted of each of them
labeller.py     guessed functions, where a query has no call
histograms.py   the counts, and their noise when they are to be differentially private
fit.py          counts -> statistics.yaml, with small cells pooled
"""
