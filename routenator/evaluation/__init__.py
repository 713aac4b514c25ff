"""How well a model turns queries into calls.

parse.py      a model's reply to a call, or why it is none
verdict.py    one predicted call against the gold one: typed errors, the values that the metrics need
metrics.py    all numbers of one model on one golden set
bootstrap.py  95% intervals, paired tests between two models
engines.py    a model that answers prompts of token ids greedily: vLLM or transformers, with or without an adapter
predict.py    Ray: several engines over the nodes of an allocation
run.py        a model by name or folder on a golden file: ``evaluate_model``
"""
