"""The native data plane: C that moves bytes without Python, and its binding. Optional: its absence changes speed only.

Knows only types of net (`splice`, `handshakes`, `legs`) and what they are made of; `control` gives it the rest.
"""
