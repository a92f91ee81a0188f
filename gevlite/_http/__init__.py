"""The server's side of HTTP/1, in C: what `gevlite.pywsgi` does on one connection. From the ground up:

settings.pyx    what all connections of a server share: limits, spare blocks of memory, names of header fields
transport.pyx   bytes in and out, within the times that a client has
connection.pyx  heads and bodies of requests, by the rules of HTTP; syntax.pxi is a part of it
response.pyx    the application's response: `start_response`, `write`, and how they become bytes
wsgi.pyx        the handler: requests one after the other, environ, the body as a file, how a WebSocket begins
"""
