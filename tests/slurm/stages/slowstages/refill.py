from jobs.refill import VERSION, run

__all__ = ["VERSION", "run"]
