"""Measures how well a model turns queries into calls.

verdict.py       compares the calls of a reply with the gold ones: typed errors and the inputs of the metrics
berkeley.py      which values are right to the Berkeley leaderboard, for `evaluate.match: berkeley`
metrics.py       all scores of one model on one golden set
bootstrap.py     95% intervals, paired tests between two models
engines.py       greedy decoding of prompts by vLLM or transformers, with or without an adapter
predict.py       runs several engines in parallel
run.py           the whole sequence: prompts, answers, verdicts, scores; also for any model on any golden file
baselines.py     baselines without a language model, which a trained model must beat
nearest.py       the training examples nearest to a query
paired.py        compares two models on the same queries
pooled.py        compares several arms, each trained with several seeds, on the same queries
folds.py         assigns examples to cross-validation folds
embed.py         sentence embeddings
cluster.py       Ray on the nodes of an allocation
"""
