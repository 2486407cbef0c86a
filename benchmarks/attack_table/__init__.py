"""The 24 attacks of ``benchmarks/attacks``: played by our test server on a client, and judged.

Reading order: ``evidence`` (what was seen), ``judges`` (what it is worth), ``cases`` (the table),
``clients`` (who is attacked), ``play`` (one attack on one client), ``report`` (what is printed).
``peers`` is what ``benchmarks/attacks`` gets before; ``__main__`` is what it then runs.
"""
