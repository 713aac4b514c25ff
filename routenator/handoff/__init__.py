"""Gives a trained model to its users: asks, serves, exports and pushes it.

trained.py  a trained adapter with its card, its template and its base model
asking.py   answers one query at a time, with calls held to the API's schema
server.py   serves it behind OpenAI's API, by vLLM
export.py   writes it as folders that work on another machine
gguf.py     converts it for llama.cpp and Ollama
model_card.py  the README of an export
hub.py      pushes an export or a data set to a model hub
"""
