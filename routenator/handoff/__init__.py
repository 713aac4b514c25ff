"""Puts a trained model into people's hands.

trained.py  a trained adapter with its card, its template and its base model
asking.py   answers one query at a time, with calls held to the API's schema
server.py   serves it behind OpenAI's API, by vLLM
"""
