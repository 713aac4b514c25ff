"""Fine-tuning a model on a data set.

prompts.py      what a model is shown and what it must answer; shared by training, evaluation and serving
tokens.py       examples as token ids in flat files, read by every process; batches and their order
adapter.py      an adapter's card (routenator.json): how to prompt it, what it was trained for
model.py        the base model (nf4, bf16) with its PEFT adapter
fused.py        LoRA layers with their own backward pass, for a CPU
checkpoints.py  checkpoints that are whole or not there, of any attempt
job.py          what the launcher tells its workers, and hears from them
trackers.py     TensorBoard and other trackers
arguments.py    what the Trainer and DeepSpeed are told
trainer.py      transformers' Trainer, fitted to this task
worker.py       the training process
launch.py       starts the workers on this node, stops them on a signal, says why they failed
"""
