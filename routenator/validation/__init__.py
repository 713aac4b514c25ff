"""Whether a candidate may become an example.

text.py       words and phrases of a query
words.py      function words by language
checks.py     the checks, in order; the first that fails gives the candidate's reason
prefilter.py  which of many drafts surely pass; compiled, with prefilter_rules.py and prefilter_kernel.py
"""
