"""Faults put into real runs of the ``nrd`` command, and the proof that no result is lost or altered by them.

``python -m tests.faults --number 500 --seed 1`` injects that many and writes a summary; ``tests/test_faults.py`` runs
the first round, in which every stage meets every kind of fault once. A fault is (seed, index): the same two give the
same stage, kind, target and draw on every machine.
"""
