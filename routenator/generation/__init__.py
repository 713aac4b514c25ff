"""Turns requests into candidate queries.

engine.py               the engine interface: prompts in, replies out, in order
vllm_engine.py          vLLM, on GPUs or CPU; text and vision-language models
transformers_engine.py  transformers' generate, where vLLM does not run
loading.py              loads the engine of this process and keeps it
places.py               assigns GPUs or cores to each of several engines
imaging.py              finds torchvision, which image models need and CPU machines keep separately
seeds.py                random decisions about a row, derived from the row's seed
prompts.py              renders Jinja2 templates to chat messages; checks templates
guide.py                grammars that make a small model say the words a query must say
render.py               draws a metadata record as an image
describe.py             describes an image in words: OCR, colours, layout (no vision-language model)
query.py                extracts the query from a model's reply
agreement.py            the last checks, of query and call: the question that the generator is asked
candidate.py            builds candidate rows, and the view of them that the checks read
heuristic.py            candidates of the heuristic route, whole tables at once
generator.py            requests to candidates: prompt, reply, query, checks
reasons.py              every reason a request may fail to become an example
precompile.py           compiles the loops of wording/ and validation/ in a separate process
"""
