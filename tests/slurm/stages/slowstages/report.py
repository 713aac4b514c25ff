from jobs.report import VERSION, run

__all__ = ["VERSION", "run"]
