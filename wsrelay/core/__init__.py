"""HTTP/1.1 and WebSocket rules as values and incremental readers: bytes in, values out.

Never imports Twisted, OpenSSL, socket, time or logging, so that every test is a table.
"""
