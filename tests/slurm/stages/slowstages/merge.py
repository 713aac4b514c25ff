from jobs.merge import VERSION, run

__all__ = ["VERSION", "run"]
