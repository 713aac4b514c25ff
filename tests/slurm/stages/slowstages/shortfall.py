from jobs.shortfall import VERSION, run

__all__ = ["VERSION", "run"]
