"""Checks whether a candidate may become an example.

text.py       words and phrases of a query
words.py      function words by language
checks.py     the checks, in order; the first that fails is the candidate's reason
prefilter.py  finds the drafts that certainly pass; compiled, with prefilter_rules.py and prefilter_kernel.py
"""
