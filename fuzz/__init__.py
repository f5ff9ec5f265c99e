"""Fuzzing: one module for each target, a function `check(data)` in each. Needs atheris only to search, not to check.

A target takes any bytes and asserts what must hold for all bytes; what it cannot judge it lets pass. `python -m fuzz`
searches; tests/fuzz runs the same functions on seeds, and on every input that once broke something. A find is made as
small as it goes and gets its place in tests/fuzz/finds.toml, with a name and the rule that was broken.
"""
