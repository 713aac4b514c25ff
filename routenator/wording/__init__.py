"""Writes the words of requests: slots, gold arguments and heuristic queries, several 100,000 a second on one core.

tables.py    flat integer tables and one pool of bytes: the program of the compiled loop, and its scratch memory
grammars.py  compiles grammars into nodes and pieces
layout.py    lays out a function's slots, with all their fields, items and entries, as rows
program.py   compiles a whole domain
placement.py chooses target positions of the category word, so that the rows match the statistics
writer.py    runs the compiled loop and returns Arrow strings
random.py    Philox draws inside compiled code
memory.py    growing buffers, and arrays without reference counts, inside compiled code
text.py      works on the bytes of a query: tidying, typos, word counts, JSON
kernel.py    the compiled loop over rows: draw, count words, draw again until the query fits, write
expand.py    draws from a grammar inside it; parts.py draws what is in a list or object; writing.py writes the JSON
composer.py  turns requests (lean rows) into details (rows with words); draws few-shot examples
labeller.py  guesses the function of a query, trained on what the composer writes
"""
