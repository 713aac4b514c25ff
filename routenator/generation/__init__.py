"""From requests to candidate queries.

engine.py               what an engine is: prompts in, replies out, in order
vllm_engine.py          vLLM, on GPUs or CPU; text and vision-language models
transformers_engine.py  transformers' generate, where vLLM does not run
loading.py              the engine that this process holds
places.py               which GPUs or cores each of several engines has
imaging.py              torchvision, which image models need, kept apart on CPU machines
seeds.py                everything random about a row, from the row's seed
prompts.py              Jinja2 templates to chat messages; checks of templates
guide.py                patterns that hold a small model to the words that a query must say
render.py               a metadata record as an image
describe.py             an image in words: OCR, colours, layout (no vision-language model)
query.py                a query from a model's reply
agreement.py            the generator asked whether query and call agree
candidate.py            a request with its query as a row of the output; what the checks look at
heuristic.py            candidates of the heuristic route, whole tables at once
generator.py            requests to candidates: prompt, reply, query, checks
reasons.py              every reason for which a request does not become an example
precompile.py           compiles the loops of wording/ and validation/, as a process
"""
