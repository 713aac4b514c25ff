from jobs.train import VERSION, run

__all__ = ["VERSION", "run"]
