from jobs.evaluate import VERSION, run

__all__ = ["VERSION", "run"]
