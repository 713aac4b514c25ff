"""Fits population statistics to a sample of real queries (``domain fit``). Only counts are kept, never a query.

queries.py      turns each query into an observation that can be counted
histograms.py   counts observations, with noise for differential privacy if wanted
tables.py       turns counts into tables of shares, pooling small cells
fit.py          runs a fit and writes statistics.yaml
"""
