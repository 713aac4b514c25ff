"""Fine-tuning a model on a data set.

tokens.py       examples as token ids in flat files, shared by all processes; batches and their order
adapter.py      an adapter's card (routenator.json): how to prompt it, what it was trained for
model.py        the base model (nf4, bf16) with its PEFT adapter
fused.py        LoRA layers with their own backward pass, for CPUs
checkpoints.py  atomic checkpoints, shared by all attempts
job.py          files by which the launcher and its workers communicate
trackers.py     TensorBoard and other trackers
arguments.py    settings of the Trainer and DeepSpeed
trainer.py      transformers' Trainer, adapted to this task
worker.py       the training process
group.py        the process group of a job of several processes
launch.py       starts the workers on this node, stops them on a signal, reports why they failed
"""
