"""The server's side of HTTP/1, in C: what `gevlite.pywsgi` does on one connection.

connection.pyx  heads and bodies of requests in, bytes out, within limits and times
wsgi.pyx        environ in, the application's response out; WebSocket's beginning
"""
