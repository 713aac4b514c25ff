"""Writes the words of requests: slots, gold arguments and heuristic queries, several 100,000 a second on one core.

program.py   compiles a domain's grammars into flat integer tables and one pool of bytes
placement.py chooses target positions of the category word, so that the rows match the statistics
writer.py    runs the compiled loop and returns Arrow strings
random.py    Philox draws inside compiled code
memory.py    growing buffers, and arrays without reference counts, inside compiled code
text.py      works on the bytes of a query: tidying, typos, word counts, JSON
kernel.py    the compiled loop over rows: draw, count words, draw again until the query fits, write
composer.py  turns requests (lean rows) into details (rows with words); draws few-shot examples
"""
