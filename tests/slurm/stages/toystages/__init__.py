"""Stages that take no time, to test driver and queue with real tasks, receipts and processes."""
