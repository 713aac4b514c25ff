from jobs.sample import VERSION, run

__all__ = ["VERSION", "run"]
