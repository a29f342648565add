"""Public weights in and out: names as data. docs/weights.md says which are known.

A family is a table (`interop/<family>.py`): pairs of their names and our paths, with a transform between the arrays of both. One
engine (`rules.py`) reads and writes by it.
"""
