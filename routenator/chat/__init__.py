"""The form of prompts and replies, one for training, evaluation and servers.

templates.py  chat templates: the model's own, or one with Hermes tags
prompts.py    prompts and replies as tokens
replies.py    finds the calls in a model's reply
guided.py     restricts replies to valid calls
"""
