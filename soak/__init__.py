"""`python -m soak`: never lose, never mix. Minutes of every kind of traffic at once, every byte of it checked.

Knows the relay only as a program: its ports, its access log, its output, and what the kernel says of its process.

`marks` is the stream that every byte belongs to; `plans` says what a connection will do, and `kinds` deals that out
from its number and the seed alone, so that both ends know it without a word. `client` and `upstream` (a process of its
own) play the two ends over `wires`, and each writes an account; `judge` compares the two, `logged` the access log with
them, `resources` the process with its beginning. `load` keeps connections going; `rounds` is the whole run, `results`
what it came to, and `report` shows it.
"""
