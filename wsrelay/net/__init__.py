"""The Twisted shell: sockets, TLS, deadlines, and the life of one connection (`session`).

Receives a pump factory and an observer; never imports `pump` or `control`.
"""
