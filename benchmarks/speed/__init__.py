"""Sending measured side by side: what ``benchmarks/run`` runs.

Reading order: ``works`` (what is measured, and the goals), ``clients`` (who sends), ``sink`` (who
receives and checks), ``wire`` (a slow network), ``servers`` (starts the two), ``measure`` (the
rounds), ``report`` (what is printed), ``__main__``.
"""
