"""Stages that take no time, for tests of the driver and the queue: the real tasks, receipts and processes around them."""
