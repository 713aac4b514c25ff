"""Words for requests: slots, gold arguments and heuristic queries, many hundred thousand a second on one core.

program.py   a domain's grammars compiled into flat integer tables and one pool of bytes
placement.py where the category word is to stand
writer.py    the compiled grammars and their loop, with Arrow strings as its result
random.py    Philox draws inside compiled code
memory.py    buffers that grow, arrays without an owner
text.py      bytes of a query: tidying, typing noise, word counts, JSON
kernel.py    the loop over rows: draw, count, draw again until the query fits, write
composer.py  requests (lean rows) to details (rows with words); few-shot examples
"""
