"""What ``benchmarks/lookups`` measures, how, and how it is shown.

Reading order: ``internet`` (the other side, a process of its own), ``measure`` (the clients and
their clocks), ``report`` (table and goals). ``__main__`` is what ``benchmarks/lookups`` runs.
"""
