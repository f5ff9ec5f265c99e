"""What the operator said: `settings` are the values all rooms read, `load` makes them from files.

Knows nothing of sockets or HTTP; `load` is imported by control and tools only.
"""
