"""WSGI (PEP 3333) on an HTTP connection: environ in, the application's response out.

`Handler` is the whole of `pywsgi.WSGIHandler`, whose methods people override. Each step is a `cpdef` method, and
calls the next one as Python would, so that an override is heeded. A handler class that overrides none of them is `quick`:
the same methods, called as C functions. Nothing is written twice.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.dict cimport PyDict_Copy
from cpython.object cimport PyObject
from libc.stdint cimport int64_t
from libc.string cimport memchr

from gevlite._accesslog cimport AccessLog
from gevlite._core cimport deadline_of, now_ns, time_left, timeout_ns
from gevlite._http.connection cimport BODY_CHUNKED, BODY_DONE, BODY_LENGTH, Connection
from gevlite._http.response cimport (
    DISCARD,
    HEADER_DATE,
    HEADER_OTHER,
    Response,
    as_bytes,
    check_text,
    date_header,
    parse_name,
)
from gevlite._http.settings cimport BLOCK, Settings
from gevlite._http.transport cimport Reader
from gevlite._socketio cimport WOULD_BLOCK
from gevlite.lock cimport Semaphore
from gevlite.timeout cimport Timeout

import _socket
import errno
import time
from datetime import datetime
from http.client import HTTPMessage

from gevlite._core import get_hub
from gevlite._http.settings import RequestError
from gevlite._rawsocket import RawSocket
from gevlite._tls_environ import tls_environ
from gevlite.greenlet import GreenletExit
from gevlite.socket import socket as _Socket


cdef extern from "Python.h":
    int _PyBytes_Resize(PyObject **data, Py_ssize_t n) except -1
    object steal_bytes "(PyObject *)"(PyObject *data)
    PyObject *bytes_new "PyBytes_FromStringAndSize"(const char *data, Py_ssize_t n) except NULL
    char *bytes_at "PyBytes_AS_STRING"(PyObject *data)
    void Py_XDECREF(PyObject *o)

cdef enum:
    FIRST_READ = 1048576    # the stated length of a body is trusted up to this size


# ---------------------------------------------------------------- the request's body

cdef class Input:
    """Input()\n--\n
    `environ["wsgi.input"]`: the body of the request, decoded, up to its end.

    Reading blocks only the calling greenlet. Raises an OSError: `RequestError` if the body is malformed, too large or
    too slow, which becomes a response if it is not caught; ConnectionResetError if the client hangs up. A Timeout loses
    nothing: the next call begins with the bytes that had come by then.

    After a response "101 Switching Protocols" it goes on with everything that the client sends on the connection.
    """

    cdef Connection connection      # None once the request is over: what comes then belongs to the next request
    cdef Handler handler
    cdef bytes kept                 # what a call had read when it was interrupted
    #: True if the body comes in chunks.
    cdef readonly bint chunked_input

    @property
    def content_length(self):
        """Its length as the request states it, None if it does not."""
        if self.connection is None or self.connection.content_length < 0:
            return None
        return self.connection.content_length

    @property
    def trailers(self):
        """The fields behind a chunked body, a list of (name, value), once it was read to its end; else None."""
        return None if self.connection is None else self.connection.trailers

    @property
    def rfile(self):
        """The connection's incoming bytes as a file. Taking this takes the connection over: no response is sent for a
        request whose application returns without `start_response`, and the connection is closed.
        """
        if self.handler is None:
            raise ValueError("the request is over")
        self.handler.taken_over = True
        self.handler.stop_timer()
        return self.handler.rfile

    def read(self, length=None):
        """`length` bytes, fewer only at the end; all with None or a negative number."""
        cdef int64_t n = -1 if length is None else length
        if self.connection is None:
            return b""
        if self.is_upgraded():
            return self.handler.rfile.read(n)
        if self.kept is not None:
            return self.read_on(n)
        return read_body(self, n)

    cdef read_on(self, int64_t n):
        """`read`, after a read that was interrupted."""
        cdef bytes data = self.kept
        if 0 <= n < len(data):
            self.kept = data[n:]
            return data[:n]
        self.kept = None
        try:
            return data + read_body(self, n if n < 0 else n - len(data))
        except BaseException:
            self.kept = data if self.kept is None else data + self.kept
            raise

    cdef bint is_upgraded(self):
        return self.handler.connection_upgraded and self.connection.body == BODY_DONE

    def readline(self, size=None):
        """Read up to and including the next line feed, at most `size` bytes."""
        cdef Connection connection = self.connection
        cdef int64_t left = -1 if size is None else size
        cdef char *p
        cdef const char *found
        cdef Py_ssize_t n
        cdef bytes piece
        cdef list pieces = []
        if connection is None:
            return b""
        if self.is_upgraded():
            return self.handler.rfile.readline(left)
        if self.kept is not None:
            piece = self.kept
            n = piece.find(b"\n") + 1 or len(piece)
            if 0 <= left < n:
                n = left
            self.kept = piece[n:] or None
            piece = piece[:n]
            if piece.endswith(b"\n") or n == left:
                return piece
            pieces.append(piece)
            if left > 0:
                left -= n
        while left:
            try:
                n = connection.body_peek(&p)
            except BaseException:
                self.kept = b"".join(pieces) or None
                raise
            if n == 0:
                break
            if 0 <= left < n:
                n = left
            found = <const char *> memchr(p, b"\n", n)
            if found != NULL:
                n = found - p + 1
            piece = PyBytes_FromStringAndSize(p, n)
            connection.body_take(n)
            pieces.append(piece)
            if found != NULL:
                break
            if left > 0:
                left -= n
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def readlines(self, hint=None):
        """The rest as a list of lines; with `hint`, no more than it takes to reach that many bytes."""
        lines = []
        total = 0
        try:
            for line in self:
                lines.append(line)
                total += len(line)
                if hint is not None and 0 < hint <= total:
                    break
        except BaseException:
            if lines:
                self.kept = b"".join(lines) + (self.kept or b"")
            raise
        return lines

    def __iter__(self):
        return self

    def __next__(self):
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def next(self):
        """The same as `next(input)`."""
        return next(self)


cdef object read_body(Input stream, int64_t n):
    """`n` bytes of the body, or what there is up to its end; -1: all."""
    cdef Connection connection = stream.connection
    cdef PyObject *data
    cdef Py_ssize_t size, got
    cdef Py_ssize_t filled = 0
    if n == 0 or connection.body == BODY_DONE:
        return b""
    if connection.body == BODY_LENGTH and (n < 0 or n > connection.remaining):
        n = connection.remaining
    size = n if 0 <= n <= FIRST_READ else BLOCK
    data = bytes_new(NULL, size)
    try:
        while filled != n:
            if filled == size:
                size = 2 * size if n < 0 or 2 * size < n else n
                _PyBytes_Resize(&data, size)
            got = connection.body_into(bytes_at(data) + filled, size - filled)
            if got == 0:
                break
            filled += got
        if filled != size:
            _PyBytes_Resize(&data, filled)
    except BaseException:
        if filled and data != NULL:
            stream.kept = PyBytes_FromStringAndSize(bytes_at(data), filled)
        Py_XDECREF(data)
        raise
    return steal_bytes(data)


# ---------------------------------------------------------------- WebSocket

cdef int64_t READ_TURN = 10 * 1000000000

cdef class Upgrade:
    """`environ["gevlite.websocket"]`: the client asks for a WebSocket, and `gevlite.websocket.accept` makes one of this.

    From then on it carries the bytes of the WebSocket: one greenlet reads, another one writes.
    """

    cdef Connection connection
    cdef Handler handler            # None once the request is over
    #: What was made of it, if anything.
    cdef public object websocket

    @property
    def acceptable(self):
        """False while there is a body: its bytes could be taken for the first frame."""
        return self.connection.body == BODY_DONE

    @property
    def closing(self):
        """True once the server stops."""
        return self.connection.settings.closing

    def answer(self, status, headers, body=b""):
        """Send the response. Raises RuntimeError if it is too late for that."""
        cdef Handler handler = self.handler
        if handler is None:
            raise RuntimeError("the request is over")
        if handler.status is not None:
            raise RuntimeError("the response was begun already")
        handler.start_response(status, headers)
        handler.answered = True
        handler.write(body)
        handler.no_body = True

    def read(self, timeout):
        """Read what came; b"" when the client has finished. Raises OSError; TimeoutError after `timeout` seconds."""
        cdef Connection connection = self.connection
        cdef int64_t left = timeout_ns(timeout)
        cdef int64_t deadline = deadline_of(left)
        cdef Py_ssize_t got
        cdef bytes data
        while connection.end == connection.start:
            if connection.dead:
                return b""
            # On TLS the time-out is the socket's, which a writer sets too: it must never become "for ever".
            got = connection.fill(READ_TURN if connection.ep is None and not 0 <= left < READ_TURN else left)
            if got == 0:
                return b""
            if got == WOULD_BLOCK:
                left = time_left(deadline)
                if left == 0:
                    raise TimeoutError("nothing came in time")
        data = PyBytes_FromStringAndSize(connection.buffer + connection.start, connection.end - connection.start)
        connection.start = connection.end
        return data

    def write(self, data):
        """Send all of it. Raises OSError; TimeoutError if the client takes it too slowly (`Limits`)."""
        self.connection.send_object(data)
        if self.handler is not None:
            self.handler.response_length += len(data)

    def finish(self):
        """Send the end of file, and block until the client has seen it, or for a moment."""
        if not self.connection.dead:
            self.connection.linger()

    def abort(self):
        """Cut the connection: the reader and the writer are woken by an OSError. Does not block."""
        sock = self.connection.sock
        self.connection.dead = True
        try:
            _Socket.shutdown(sock, _socket.SHUT_RDWR)
        except (OSError, TypeError):
            pass        # closed meanwhile; or not a socket of ours
        sock.close()    # now, and not when the application returns: a client that sends would wait

    cdef bint end(self, exc) except -1:
        """The application has returned, or raised `exc`. True if `exc` is to be raised further."""
        cdef Handler handler = self.handler
        if self.websocket is None:
            return exc is not None
        try:
            if self.websocket._finish(exc):
                handler.handle_error(type(exc), exc, exc.__traceback__)
            return isinstance(exc, GreenletExit)
        finally:
            self.websocket = None


# ---------------------------------------------------------------- the handler

cdef tuple FILLERS = tuple([(f"filler {n}", None) for n in range(22)])

# The steps of each request that a subclass may override. Other methods are always looked up by name: calls are rare.
_STEPS = (
    "handle",
    "handle_one_request",
    "get_environ",
    "handle_one_response",
    "run_application",
    "process_result",
    "start_response",
    "write",
    "finalize_headers",
)


cdef int class_of(object code) except -1:
    """The first digit of a status; 0 if there is none, or if a subclass has put something else there."""
    cdef int digit = <int> code // 100 if type(code) is int else 0
    return digit if 1 <= digit <= 5 else 0


cdef bint overrides(type cls, names) except -1:
    for name in names:
        if getattr(cls, name) is not getattr(Handler, name):
            return True
    return False


cdef class Handler(Response):
    """Handler(sock, address, server, rfile=None)\n--\n
    Serves one connection; see `pywsgi.WSGIHandler`."""

    protocol_version = "HTTP/1.1"
    MessageClass = HTTPMessage
    ignored_socket_errors = (errno.EPIPE, errno.ECONNRESET)

    cdef public object socket
    cdef public object client_address
    cdef public object server
    cdef public object application
    cdef public object wsgi_input
    cdef public object time_start
    cdef public object time_finish
    cdef public bint taken_over                 # the application speaks on the connection itself
    cdef object _requestline
    cdef object head                            # a copy of the request's head, if it may be needed
    cdef Reader _rfile
    cdef Input input
    cdef Upgrade upgrade                        # the client asks for a WebSocket
    cdef dict template                          # environ of this connection, before a request is added
    cdef bint own_environ                       # the server overrides how environ is made
    cdef Semaphore places                       # for requests, if the server limits their number
    cdef bint reads_itself
    cdef bint gone                              # the client has gone before the end of a head
    cdef bint logs
    cdef AccessLog access                       # the server's log, if it is one
    cdef object proxies                         # the server's Proxies, or None
    cdef bint refused                           # the request was refused: the rest of it is not wanted
    cdef int64_t began                          # when the request's head was there
    cdef object page                            # what answers instead of the application; None: nothing does
    cdef public bint _proxied                   # the connection began with a header of the PROXY protocol

    def __init__(self, sock, address, server, rfile=None):
        self.socket = sock
        self.client_address = address
        self.server = server
        self.connection = Connection(sock, server._settings, rfile)
        cls = type(self)
        self.quick = not overrides(cls, _STEPS)
        self.reads_itself = overrides(cls, ("read_requestline", "read_request"))
        self.own_environ = server._own_environ
        self.places = server._places
        self.proxies = server.proxies
        self.access = server.log if isinstance(server.log, AccessLog) else None
        self.logs = server._logs or not self.quick or overrides(cls, ("log_request",))

    # -------- what is known about the request

    @property
    def rfile(self):
        """The client's bytes that are not used yet, as a file."""
        if self._rfile is None:
            self._rfile = Reader(self.connection)
        return self._rfile

    @property
    def requestline(self):
        """The first line of the request, as text."""
        if self._requestline is None and self.head is not None:
            self._requestline = (<bytes> self.head).partition(b"\r\n")[0].decode("latin-1")
        return self._requestline

    @requestline.setter
    def requestline(self, value):
        self._requestline = value

    def _word(self, n):
        words = (self.requestline or "").split()
        return words[n] if len(words) == 3 else None

    @property
    def command(self):
        """The method."""
        return self._word(0)

    @property
    def path(self):
        """The target as it was sent: not decoded, with the query."""
        return self._word(1)

    @property
    def request_version(self):
        """"HTTP/1.1" or "HTTP/1.0"."""
        return self._word(2)

    @property
    def content_length(self):
        """The length that the request states for its body, None if it states none."""
        return self.connection.content_length if self.connection.content_length >= 0 else None

    @property
    def headers(self):
        """The request's header fields, a new `MessageClass`."""
        message = self.MessageClass()
        if self.head is not None:
            for line in (<bytes> self.head).split(b"\r\n")[1:-2]:
                name, _, value = line.decode("latin-1").partition(":")
                message[name] = value.strip(" \t")
        return message

    @property
    def accepted_websocket(self):
        """The `gevlite.websocket.WebSocket` that the application has accepted, or None."""
        return None if self.upgrade is None else self.upgrade.websocket

    # -------- requests

    cpdef handle(self):
        """Serve one request after the other until the connection is to be closed, which its server does."""
        try:
            while True:
                if self.quick:
                    outcome = Handler.handle_one_request(self)
                else:
                    outcome = self.handle_one_request()
                if outcome is True:
                    continue
                if outcome is not None:
                    # A subclass may return (status, body): the last words on this connection.
                    self.status, body = outcome
                    self.connection.send_object(body)
                    self.log_request()
                break
        except OSError:
            if not self.connection.dead:
                raise
        finally:
            self.connection.release()
            self.environ = self.wsgi_input = self.result = self.application = self._rfile = self.page = None
            self.template = None        # it has a method of this object
            self.end_input()

    cdef int reset(self) except -1:
        self.begin_response()
        self.head = self._requestline = self.time_start = self.time_finish = None
        self.taken_over = self.refused = False
        self.began = 0
        self.page = None
        return 0

    cpdef handle_one_request(self):
        """Read a request, and answer it. True if another one may follow, None if the connection is to be closed."""
        cdef Connection connection = self.connection
        self.reset()
        try:
            if not self.reads_itself:
                if not connection.read_head():
                    return None
                self.parse()
            else:
                line = self.read_requestline()
                if not line:
                    return None
                if not self.read_request(line):
                    if self.gone:
                        return None
                    raise RequestError("400 Bad Request", "read_request() refused it")
        except RequestError as exc:
            self.refuse(exc)
            connection.linger()
            return None
        # The page is needed most when all places are taken.
        cdef Semaphore places = self.places if self.page is None else None
        if places is not None and not self.take_place():
            return None
        try:
            self.application = self.server.application if self.page is None else self.page
            if self.quick:
                self.environ = Handler.get_environ(self)
                Handler.handle_one_response(self)
            else:
                self.environ = self.get_environ()
                self.handle_one_response()
        finally:
            if places is not None:
                places.release()
        if self.close_connection:
            unread = connection.body != BODY_DONE or connection.end > connection.start
            if self.refused or unread and not (connection.dead or self.taken_over or self.connection_upgraded):
                connection.linger()
            return None
        return True

    cdef bint take_place(self) except -1:
        """Block until it is this request's turn. False if too many wait already: then the response has said so."""
        cdef Settings settings = self.connection.settings
        if self.places.acquire(False):
            return True
        if 0 <= settings.max_queued <= settings.queued:
            self.refuse(RequestError("503 Service Unavailable", "too many requests wait"))
            return False
        settings.queued += 1
        try:
            self.places.acquire()
        finally:
            settings.queued -= 1
        return True

    cpdef read_requestline(self):
        """Block until there is a line; take it. b"" if there is none: the client has finished, or took too long."""
        return self.connection.take_line()

    cpdef read_request(self, raw_requestline):
        """Read the rest of the request that begins with this line. False if there is none. An override that returns
        False without having asked this one refuses the request: 400.
        """
        self.connection.put_back(raw_requestline)
        if not self.connection.read_head():
            self.gone = True
            return False
        self.parse()
        return True

    cdef int parse(self) except -1:
        """The head is here: make environ of it."""
        cdef Connection connection = self.connection
        cdef dict environ
        self.began = now_ns()
        if self.logs:
            self.time_start = time.time()
            self.head = connection.buffer[connection.start:connection.start + connection.head_size]
        if self.template is None:
            self.make_template()
        environ = PyDict_Copy(self.template)
        connection.parse_head(environ)
        environ["SERVER_PROTOCOL"] = "HTTP/1.1" if connection.minor else "HTTP/1.0"
        connection.consume_head()
        if connection.upgrade:
            # Libraries that speak WebSocket by themselves find it by this name (simple-websocket, and so flask-sock).
            environ["gunicorn.socket"] = RawSocket(self.socket, self)
        self.close_connection = (
            not connection.keep_alive or connection.settings.closing or connection.settings.keepalive_time == 0
        )
        self.input = Input.__new__(Input)
        self.input.connection = connection
        self.input.handler = self
        self.input.chunked_input = connection.body == BODY_CHUNKED
        self.wsgi_input = environ["wsgi.input"] = self.input
        if connection.upgrade and connection.minor == 1:
            self.offer_websocket(environ)
        self.environ = environ
        if connection.settings.status_page is not None:
            # Before a proxy's header fields count: the page is not for the clients of a proxy.
            if (<str> environ["PATH_INFO"]).startswith(connection.settings.status_path):
                self.page = connection.settings.status_page.answer(self.socket, self._proxied, environ)
        if self.proxies is not None:
            self.proxies.apply(self.client_address, environ)
        return 0

    cdef int offer_websocket(self, dict environ) except -1:
        if environ.get("HTTP_UPGRADE", "").lower() != "websocket":
            return 0
        self.upgrade = Upgrade.__new__(Upgrade)
        self.upgrade.connection = self.connection
        self.upgrade.handler = self
        environ["gevlite.websocket"] = self.upgrade
        return 0

    cdef int make_template(self) except -1:
        environ = {} if self.own_environ else dict(self.server.get_environ())
        # Set now, so that in every copy they are replaced and not added.
        for key in ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "SERVER_PROTOCOL", "wsgi.input"):
            environ.setdefault(key, "")
        environ["wsgi.early_hints"] = self.early_hints
        told = getattr(self.client_address, "environ", {})      # by the PROXY protocol
        if self.connection.ep is None and "HTTPS" not in told:
            environ.update(tls_environ(self.socket))
        environ.update(told)
        environ.update(self.get_connection_environ())
        # A dict grows when the 22nd key comes, and copies have its size: they need not grow for a request's fields then.
        fillers = FILLERS[len(environ):]
        environ.update(fillers)
        for key, _ in fillers:
            del environ[key]
        self.template = environ
        return 0

    cpdef get_connection_environ(self):
        """The entries of environ that all requests of the connection have: REMOTE_ADDR, REMOTE_PORT."""
        address = self.client_address
        if isinstance(address, tuple):
            return {"REMOTE_ADDR": str(address[0]), "REMOTE_PORT": str(address[1])}
        return {"REMOTE_ADDR": ""}          # a UNIX socket

    cpdef get_environ(self):
        """The environ of the request. A subclass may add to it."""
        if self.own_environ:
            environ = self.server.get_environ()
            environ.update(self.environ)
            return environ
        return self.environ

    cdef int end_input(self) except -1:
        if self.input is not None:
            self.input.connection = None
            self.input.handler = None
            self.input = None
        if self.upgrade is not None:
            self.upgrade.handler = None
            self.upgrade = None
            self.answered = False
        return 0

    # -------- responses

    cpdef handle_one_response(self):
        """Run the application, send what it returns, and leave the connection ready for the next request."""
        if self.page is None:
            self.connection.settings.serving += 1
        if self.connection.settings.request_timeout is not None:
            self.timer = Timeout(self.connection.settings.request_timeout)
            self.timer._start()
        try:
            try:
                try:
                    if self.quick:
                        Handler.run_application(self)
                    else:
                        self.run_application()
                finally:
                    self.close_result()
            except BaseException as exc:
                if self.upgrade is None or self.upgrade.end(exc):
                    raise
            else:
                if self.upgrade is not None:
                    self.upgrade.end(None)
            if self.status is None and not self.taken_over:
                raise self.ApplicationError("the application did not call start_response()")
            if self.left > 0 and not self.no_body:
                raise self.ApplicationError(f"the response is {self.left} bytes shorter than its Content-Length")
        except GreenletExit:
            raise
        except RequestError as exc:
            # The application read the body and did not catch this.
            self.close_connection = True
            if not self.headers_sent and not self.taken_over:
                self.refuse(exc)
                return
        except BaseException as exc:
            self.close_connection = True
            if not self.connection.dead or not isinstance(exc, OSError):
                self.handle_error(type(exc), exc, exc.__traceback__)
        finally:
            self.count()
            self.stop_timer()
            self.end_input()
            if self.taken_over or self.connection_upgraded or self.connection.dead:
                self.close_connection = True
        if not self.close_connection and self.connection.body != BODY_DONE:
            self.close_connection = not self.connection.discard(DISCARD)
        if self.logs:
            self.time_finish = time.time()
            self.log_request()

    cdef int count(self) except -1:
        """The response is complete, or as complete as it will be."""
        cdef Settings settings = self.connection.settings
        if self.page is None:
            settings.serving -= 1
        if not self.refused:            # else it is counted
            settings.answered[class_of(self.code)] += 1
            if self.began and not (self.taken_over or self.connection_upgraded):
                settings.count_time(now_ns() - self.began)
        return 0

    def _socket_is_used(self, bint speaks):
        """The application uses the socket: its time is not limited now. speaks: it may send, so no response follows."""
        self.stop_timer()
        if speaks:
            self.taken_over = True

    cdef int close_result(self) except -1:
        result = self.result
        self.result = None
        if result is None or type(result) is list or type(result) is tuple:
            return 0
        close = getattr(result, "close", None)
        if close is not None:
            close()
        return 0

    cpdef run_application(self):
        """Call the application and send its result."""
        try:
            self.result = self.application(self.environ, (<object> self).start_response)
        except StopIteration:
            # The application has spoken with the client by itself, on "gunicorn.socket": it tells gunicorn so in this
            # way.
            if not self.connection.upgrade or self.status is not None:
                raise
            self.taken_over = True
            return
        if self.quick:
            Response.process_result(self)
        else:
            self.process_result()

    def early_hints(self, headers):
        """`environ["wsgi.early_hints"]`: send a response "103 Early Hints" (RFC 8297) with these headers, a list of
        (name, value) such as `("Link", "</style.css>; rel=preload; as=style")`, ahead of the real one.

        Does nothing if the client speaks HTTP/1.0, or once the response has begun. Blocks while the client takes no
        more. Raises ValueError or TypeError for what cannot be in such a response, OSError if the client is gone.
        """
        cdef tuple found
        lines = [b"HTTP/1.1 103 Early Hints\r\n"]
        for name, value in headers:
            found = parse_name(name)
            if found[1] != HEADER_OTHER and found[1] != HEADER_DATE:
                raise ValueError(f"{name} cannot be in a response 103")
            lines.append(b"%b: %b\r\n" % (found[0], check_text(value, "value of a header")))
        lines.append(b"\r\n")
        if self.connection.minor == 0 or self.headers_sent or self.input is None or self.taken_over:
            return
        if self.connection_upgraded or self.connection.dead:
            return
        self.connection.send_object(b"".join(lines))

    # -------- errors and the log

    cdef int refuse(self, exc) except -1:
        """Answer a request that cannot be served, if the client is still there."""
        cdef bytes status = exc.status.encode("ascii")
        cdef bytes body = status[4:] + b"\n"
        self.close_connection = True
        self.status = status
        self.code = int(status[:3])
        self.connection.settings.answered[class_of(self.code)] += 1
        if self.logs and self.time_start is None:
            self.time_start = time.time()
        more = b"Upgrade: websocket\r\n" if self.code == 426 else b""      # RFC 9110, 15.5.22
        response = (
            b"HTTP/1.1 %b\r\nContent-Type: text/plain\r\n%b: %b\r\nContent-Length: %d\r\nConnection: close\r\n%b\r\n%b"
        ) % (
            status, *date_header(), len(body), more, b"" if self.connection.is_head else body
        )
        try:
            self.connection.send_object(response)
            self.response_length += len(response)
            self.head_length = response.index(b"\r\n\r\n") + 4
        except OSError:
            pass
        if self.logs:
            self.time_finish = time.time()
            self.log_request()
        self.refused = True
        return 0

    cpdef handle_error(self, t, v, tb):
        """The application failed: `report_error`. If the head of the response is not yet sent, send a 500 without
        details, or a 503 if the application took longer than `Limits.request_timeout`; else the connection is closed
        before the response is complete. Nothing is sent if the application has taken the connection over.
        """
        self.report_error(t, v, tb)
        self.close_connection = True
        if self.headers_sent or self.taken_over or self.connection.dead:
            return
        self.status = None
        self.result = None
        self.left = -1
        # 503 for the time-out of requests, not for a Timeout of the application.
        status = "503 Service Unavailable" if self.timer is not None and v is self.timer else "500 Internal Server Error"
        body = status[4:].encode()
        try:
            self.start_response(
                status,
                [("Content-Type", "text/plain"), ("Connection", "close"), ("Content-Length", str(len(body)))],
            )
            self.write(body)
        except OSError:
            pass

    cpdef report_error(self, t, v, tb):
        """Report an exception to us, not to the client: by `Hub.handle_error`, with an environ that hides secrets."""
        context = self.environ
        if isinstance(v, KeyboardInterrupt):
            self.server._interrupted(v, f"{context.get('REQUEST_METHOD')} {context.get('PATH_INFO')!r}")
            return
        if not isinstance(context, self.server.secure_environ_class):
            context = self.server.secure_environ_class(context)
        get_hub().handle_error(context, t, v, tb)

    cpdef log_request(self):
        """Write the line of `format_request` to the server's log, or a line in its own format if it is an AccessLog."""
        if self.access is not None:
            self.access.add(
                self, self.head, self.environ if isinstance(self.environ, dict) else None, self.code,
                self.response_length - self.head_length,
                self.time_start or time.time(), self.time_finish or time.time(),
            )
            return
        self.server.log.write(self.format_request() + "\n")

    def format_request(self):
        """The line for the log: client, time, request line, status, bytes sent, seconds."""
        address = self.client_address
        if isinstance(address, tuple):
            address = address[0]
        status = (as_bytes(self.status)[:3].decode() if self.status is not None else "") or "000"
        if self.time_finish and self.time_start:
            took = f"{self.time_finish - self.time_start:.6f}"
        else:
            took = "-"
        now = datetime.now().replace(microsecond=0)
        return f'{address or "-"} - - [{now}] "{self.requestline or ""}" {status} {self.response_length or "-"} {took}'

    def log_error(self, msg, *args):
        """Write `msg % args` to the server's error log."""
        try:
            message = msg % args
        except Exception:
            message = f"{msg!r} {args!r}"
        self.server.error_log.write(message + "\n")
