"""How well a model turns queries into calls.

parse.py         a model's reply to a call, or why it is none
verdict.py       one predicted call against the gold one: typed errors, the values that the metrics need
metrics.py       all numbers of one model on one golden set
bootstrap.py     95% intervals, paired tests between two models
engines.py       a model that answers prompts of token ids greedily: vLLM or transformers, with or without an adapter
predict.py       answers by several engines at once
run.py           the sequence: prompts, answers, verdicts, scores; a model by name or folder on a golden file
baselines.py     what a trained model must beat, without a language model
paired.py        two models on the same queries
pooled.py        several trainings of several arms on the same queries
folds.py         which examples a fold holds out
embed.py         sentence embeddings
cluster.py       Ray on the nodes of an allocation
merged_model.py  an adapter merged into its base model's weights
"""
