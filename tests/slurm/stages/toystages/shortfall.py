from toystages.common import VERSION, run

__all__ = ["VERSION", "run"]
