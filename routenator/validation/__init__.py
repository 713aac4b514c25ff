"""Whether a candidate may become an example.

text.py     words and phrases of a query
words.py    function words by language
checks.py   the checks, in order; the first that fails gives the candidate's reason
"""
