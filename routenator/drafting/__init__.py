"""``domain draft``: a language model proposes values, patterns, paraphrases and topics without a call.

run.py        the command as a function; starts here
asks.py       what is asked, one prompt at a time
proposals.py  parses, checks and deduplicates what the model proposes
files.py      keeps what passes, in files of its own
"""
