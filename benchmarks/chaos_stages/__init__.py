"""The real stages as ``benchmarks/chaos.py`` runs them: slower, so that faults hit, and with mines, so that faults hit
where it hurts.
"""
