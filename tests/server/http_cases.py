"""HTTP requests as bytes, and the expected results. Each names the rule that it tests.

9110: RFC 9110, HTTP semantics. 9112: RFC 9112, HTTP/1.1. 3986: URIs. `expect` lists the statuses of the responses, then
"open" if another request can be sent on the connection, or "closed". `seen` is what the application was called with:
method, path (with the query) and body of each request; by default there are as many as there are responses 200.
`strict` is expected of a strict server, where that differs.
"""

from dataclasses import dataclass

H = b"Host: example.com\r\n"
GET = b"GET / HTTP/1.1\r\n" + H
POST = b"POST /p HTTP/1.1\r\n" + H
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


@dataclass(frozen=True)
class HttpCase:
    name: str
    rule: str
    data: bytes
    expect: str
    seen: tuple[str, ...] | None = None
    strict: str | None = None


CASES: list[HttpCase] = []


def case(rule, name, data, expect, *seen, strict=None):
    CASES.append(HttpCase(name, rule, data, expect, seen or None, strict))


# ---------------------------------------------------------------- the request line

R = "9112 3"
case(R, "GET", GET + b"\r\n", "200 open", "GET /")
case(R, "query", b"GET /a?b=c&d HTTP/1.1\r\n" + H + b"\r\n", "200 open", "GET /a?b=c&d")
case(R, "no target", b"GET HTTP/1.1\r\n" + H + b"\r\n", "400 closed")
case(R, "no version", b"GET /\r\n" + H + b"\r\n", "400 closed")
case(R, "HTTP/0.9", b"GET /\r\n\r\n", "400 closed")
case(R, "a method alone", b"GET\r\n\r\n", "400 closed")
case(R, "nothing but spaces", b"   \r\n\r\n", "400 closed")
case(R, "two spaces before the target", b"GET  / HTTP/1.1\r\n" + H + b"\r\n", "400 closed")
case(R, "two spaces before the version", b"GET /  HTTP/1.1\r\n" + H + b"\r\n", "400 closed")
case(R, "space at the end", b"GET / HTTP/1.1 \r\n" + H + b"\r\n", "400 closed")
case(R, "space at the beginning", b" GET / HTTP/1.1\r\n" + H + b"\r\n", "400 closed")
case(R, "tab for space", b"GET\t/ HTTP/1.1\r\n" + H + b"\r\n", "400 closed")
case(R, "tab for the second space", b"GET /\tHTTP/1.1\r\n" + H + b"\r\n", "400 closed")
case(R, "vertical tab for space", b"GET\x0b/ HTTP/1.1\r\n" + H + b"\r\n", "400 closed")
case(R, "form feed for space", b"GET /\x0cHTTP/1.1\r\n" + H + b"\r\n", "400 closed")
case(R, "four words", b"GET / a HTTP/1.1\r\n" + H + b"\r\n", "400 closed")
case(R, "a second request line within", b"GET / HTTP/1.1 HTTP/1.1\r\n" + H + b"\r\n", "400 closed")
case(R, "request line too long", b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + H + b"\r\n", "414 closed")
case(R, "request line too long and endless", b"GET /" + b"a" * 9000, "414 closed")
case(R, "request line as long as may be", b"GET /" + b"a" * 8176 + b" HTTP/1.1\r\n" + H + b"\r\n", "200 open")
case(R, "TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "400 closed")
case(R, "binary", bytes(range(256)), "400 closed")
case(R, "NUL", b"\0" * 20, "400 closed")

R = "9110 9.1"
case(R, "method in lower case", b"get / HTTP/1.1\r\n" + H + b"\r\n", "200 open", "get /", strict="501 closed")
case(R, "method in mixed case", b"Get / HTTP/1.1\r\n" + H + b"\r\n", "200 open", "Get /", strict="501 closed")
case(R, "unknown method", b"BREW / HTTP/1.1\r\n" + H + b"\r\n", "200 open", "BREW /", strict="501 closed")
case(R, "method that begins like a known one", b"GETX / HTTP/1.1\r\n" + H + b"\r\n", "200 open", "GETX /",
     strict="501 closed")
case(R, "method with characters of a token", b"X-!#$%&'*+.^_`|~ / HTTP/1.1\r\n" + H + b"\r\n", "200 open",
     "X-!#$%&'*+.^_`|~ /", strict="501 closed")
case(R, "unknown method, two of them", (b"BREW / HTTP/1.1\r\n" + H + b"\r\n") * 2, "200 200 open", "BREW /", "BREW /",
     strict="501 closed")
case(R, "unknown method with a body", b"BREW /p HTTP/1.1\r\n" + H + b"Content-Length: 3\r\n\r\nabc" + GET + b"\r\n",
     "200 200 open", "BREW /p abc", "GET /", strict="501 closed")
case(R, "unknown method with chunks",
     b"BREW /p HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + GET + b"\r\n",
     "200 200 open", "BREW /p abc", "GET /", strict="501 closed")
case(R, "unknown method with an upgrade",
     b"BREW /p HTTP/1.1\r\n" + H + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc" + GET
     + b"\r\n", "200 200 open", "BREW /p abc", "GET /", strict="501 closed")
case(R, "unknown method and a bad field", b"BREW / HTTP/1.1\r\n" + H + b"X : y\r\n\r\n", "400 closed",
     strict="501 closed")
case(R, "unknown method and a folded field", b"BREW / HTTP/1.1\r\n" + H + b"X: y\r\n z\r\n\r\n", "501 closed")
case(R, "unknown method and a field folded to nothing", b"BREW / HTTP/1.1\r\n" + H + b"X: y\r\n \r\n\r\n", "501 closed")
case(R, "unknown method and both lengths",
     b"BREW / HTTP/1.1\r\n" + H + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "400 closed",
     strict="501 closed")
case(R, "unknown method in HTTP/1.0 with chunks", b"BREW / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
     "400 closed", strict="501 closed")
case(R, "method that is no token", b"G(T / HTTP/1.1\r\n" + H + b"\r\n", "400 closed")
case(R, "method with a colon", b"GET: / HTTP/1.1\r\n" + H + b"\r\n", "400 closed")
case(R, "method with NUL", b"G\0T / HTTP/1.1\r\n" + H + b"\r\n", "400 closed")
case(R, "method not in ASCII", b"G\xcbT / HTTP/1.1\r\n" + H + b"\r\n", "400 closed")
case(R, "RTSP method", b"DESCRIBE / HTTP/1.1\r\n" + H + b"\r\n", "200 open", "DESCRIBE /", strict="4xx/501 closed")
for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "PURGE", "REPORT"):
    case(R, f"method {method}", f"{method} /x HTTP/1.1\r\n".encode() + H + b"\r\n", "200 open", f"{method} /x")
case("9110 9.3.2", "HEAD has no body", b"HEAD / HTTP/1.1\r\n" + H + b"\r\n", "200 open", "HEAD /")
case("9110 9.3.6", "CONNECT ends the connection", b"CONNECT a.example:443 HTTP/1.1\r\n" + H + b"\r\n", "200 closed",
     "CONNECT ")
case("9110 9.3.6", "CONNECT and what might pass for a request",
     b"CONNECT a.example:443 HTTP/1.1\r\n" + H + b"\r\n" + GET + b"\r\n", "200 closed", "CONNECT ")
case("9110 9.3.6", "CONNECT with a body, in which there is a request",
     b"CONNECT a.example:443 HTTP/1.1\r\n" + H + b"Content-Length: 45\r\n\r\n" + GET + b"\r\n", "200 closed",
     "CONNECT ")

R = "9112 2.3"
case(R, "HTTP/1.0", b"GET / HTTP/1.0\r\n\r\n", "200 closed", "GET /")
case(R, "HTTP/2.0", b"GET / HTTP/2.0\r\n" + H + b"\r\n", "505 closed")
case(R, "HTTP/1.2", b"GET / HTTP/1.2\r\n" + H + b"\r\n", "200 open", "GET /", strict="505 closed")
case(R, "HTTP/1.9 with a body", b"POST /p HTTP/1.9\r\n" + H + b"Content-Length: 3\r\n\r\nabc" + GET + b"\r\n",
     "200 200 open", "POST /p abc", "GET /", strict="505 closed")
case(R, "HTTP/1.2 without a host", b"GET / HTTP/1.2\r\n\r\n", "400 closed", strict="505 closed")
case(R, "HTTP/0.9 by name", b"GET / HTTP/0.9\r\n" + H + b"\r\n", "505 closed")
case(R, "HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505 closed")
case(R, "version with two digits", b"GET / HTTP/1.10\r\n" + H + b"\r\n", "400 closed")
case(R, "version with a leading zero", b"GET / HTTP/01.1\r\n" + H + b"\r\n", "400 closed")
case(R, "version without a minor", b"GET / HTTP/1\r\n" + H + b"\r\n", "400 closed")
case(R, "version with a comma", b"GET / HTTP/1,1\r\n" + H + b"\r\n", "400 closed")
case(R, "version with a sign", b"GET / HTTP/+1.1\r\n" + H + b"\r\n", "400 closed")
case(R, "version that is no number", b"GET / HTTP/x.y\r\n" + H + b"\r\n", "400 closed")
case(R, "version in lower case", b"GET / http/1.1\r\n" + H + b"\r\n", "400 closed")
case(R, "another protocol", b"GET / RTSP/1.0\r\n" + H + b"\r\n", "400 closed")
case(R, "yet another protocol", b"SOURCE / ICE/1.0\r\n" + H + b"\r\n", "400 closed")
case(R, "no protocol", b"GET / 1.1\r\n" + H + b"\r\n", "400 closed")

R = "9112 3.2"
case("9112 3.2.1", "origin form with everything", b"GET /a/b;c=d,e:@!$&'()*+~-._%20?x/y?z HTTP/1.1\r\n" + H + b"\r\n",
     "200 open", "GET /a/b;c=d,e:@!$&'()*+~-._ ?x/y?z")
case("9112 3.2.1", "two slashes", b"GET //a HTTP/1.1\r\n" + H + b"\r\n", "200 open", "GET //a")
case("9112 3.2.1", "dots are the application's", b"GET /../a HTTP/1.1\r\n" + H + b"\r\n", "200 open", "GET /../a")
case("3986 2.1", "percent encoding in every case", b"GET /%61%2fA%2F%fF HTTP/1.1\r\n" + H + b"\r\n", "200 open",
     "GET /a/A/\xff")
case("3986 2.1", "percent encoding that is none", b"GET /%zz%4%%41 HTTP/1.1\r\n" + H + b"\r\n", "200 open",
     "GET /%zz%4%A")
case("3986 2.1", "the query stays encoded", b"GET /?a%20b HTTP/1.1\r\n" + H + b"\r\n", "200 open", "GET /?a%20b")
case(R, "what browsers leave unencoded", b"GET /?\\^`{|} HTTP/1.1\r\n" + H + b"\r\n", "200 open", "GET /?\\^`{|}")
case(R, "fragment", b"GET /a#b?c HTTP/1.1\r\n" + H + b"\r\n", "200 open", "GET /a", strict="400 closed")
case(R, "fragment behind a query", b"GET /a?b#c#d HTTP/1.1\r\n" + H + b"\r\n", "200 open", "GET /a?b",
     strict="400 closed")
case(R, "fragment and nothing else", b"GET # HTTP/1.1\r\n" + H + b"\r\n", "400 closed")
case(R, "fragment of an absolute form", b"GET http://example.com#a HTTP/1.1\r\n" + H + b"\r\n", "200 open", "GET /",
     strict="400 closed")
case(R, "fragment for a host", b"GET http://#example.com/ HTTP/1.1\r\n" + H + b"\r\n", "400 closed")
case(R, "fragment of a star", b"OPTIONS *#a HTTP/1.1\r\n" + H + b"\r\n", "400 closed")
case(R, "fragment of CONNECT", b"CONNECT a.example:443#a HTTP/1.1\r\n" + H + b"\r\n", "400 closed")
case(R, "quotation mark", b'GET /" HTTP/1.1\r\n' + H + b"\r\n", "200 open", 'GET /"', strict="400 closed")
case(R, "quotation mark in the query", b'GET /?up{job="x"} HTTP/1.1\r\n' + H + b"\r\n", "200 open", 'GET /?up{job="x"}',
     strict="400 closed")
case(R, "angle brackets", b"GET /<script> HTTP/1.1\r\n" + H + b"\r\n", "200 open", "GET /<script>", strict="400 closed")
case(R, "space within", b"GET /a b HTTP/1.1\r\n" + H + b"\r\n", "400 closed")
case(R, "NUL within", b"GET /a\0b HTTP/1.1\r\n" + H + b"\r\n", "400 closed")
case(R, "DEL within", b"GET /a\x7fb HTTP/1.1\r\n" + H + b"\r\n", "400 closed")
case(R, "control character within", b"GET /a\x1bb HTTP/1.1\r\n" + H + b"\r\n", "400 closed")
case(R, "UTF-8 within", "GET /\u00fc?\u00fc HTTP/1.1\r\n".encode() + H + b"\r\n", "200 open", "GET /\xc3\xbc?\xc3\xbc",
     strict="400 closed")
case(R, "a byte beyond ASCII within", b"GET /\xff HTTP/1.1\r\n" + H + b"\r\n", "200 open", "GET /\xff",
     strict="400 closed")
case(R, "UTF-8 for a slash", "GET \u00fc HTTP/1.1\r\n".encode() + H + b"\r\n", "400 closed")
case(R, "UTF-8 in the host", "GET http://\u00fc/ HTTP/1.1\r\n".encode() + H + b"\r\n", "400 closed")
case(R, "CR within", b"GET /a\rb HTTP/1.1\r\n" + H + b"\r\n", "400 closed")
case(R, "no slash", b"GET a HTTP/1.1\r\n" + H + b"\r\n", "400 closed")
case(R, "dots without slash", b"GET ../a HTTP/1.1\r\n" + H + b"\r\n", "400 closed")
case(R, "backslash for slash", b"GET \\a HTTP/1.1\r\n" + H + b"\r\n", "400 closed")
case(R, "query without path", b"GET ?a HTTP/1.1\r\n" + H + b"\r\n", "400 closed")
case("9112 3.2.2", "absolute form", b"GET http://example.com/a?b HTTP/1.1\r\n" + H + b"\r\n", "200 open", "GET /a?b")
case("9112 3.2.2", "absolute form of https", b"GET HTTPS://example.com:8443/a HTTP/1.1\r\n" + H + b"\r\n", "200 open",
     "GET /a")
case("9112 3.2.2", "absolute form without a path", b"GET http://example.com HTTP/1.1\r\n" + H + b"\r\n", "200 open",
     "GET /")
case("9112 3.2.2", "absolute form, query only", b"GET http://example.com?q HTTP/1.1\r\n" + H + b"\r\n", "200 open",
     "GET /?q")
case("9112 3.2.2", "absolute form of IPv6", b"GET http://[::1]:80/a HTTP/1.1\r\n" + H + b"\r\n", "200 open", "GET /a")
case("9112 3.2.2", "absolute form without a host", b"GET http:///a HTTP/1.1\r\n" + H + b"\r\n", "400 closed")
case("9112 3.2.2", "absolute form of another scheme", b"GET ftp://example.com/a HTTP/1.1\r\n" + H + b"\r\n",
     "400 closed")
case("9110 4.2.4", "absolute form with a password", b"GET http://me:pw@example.com/ HTTP/1.1\r\n" + H + b"\r\n",
     "400 closed")
case("9112 3.2.3", "authority form without CONNECT", b"GET example.com:80 HTTP/1.1\r\n" + H + b"\r\n", "400 closed")
case("9112 3.2.3", "CONNECT to a path", b"CONNECT /a HTTP/1.1\r\n" + H + b"\r\n", "400 closed")
case("9112 3.2.3", "CONNECT without a port", b"CONNECT example.com HTTP/1.1\r\n" + H + b"\r\n", "400 closed")
case("9112 3.2.4", "OPTIONS *", b"OPTIONS * HTTP/1.1\r\n" + H + b"\r\n", "200 open", "OPTIONS *")
case("9112 3.2.4", "GET *", b"GET * HTTP/1.1\r\n" + H + b"\r\n", "400 closed")
case("9112 3.2.4", "star and more", b"OPTIONS *a HTTP/1.1\r\n" + H + b"\r\n", "400 closed")

# ---------------------------------------------------------------- lines

R = "9112 2.2"
case(R, "an empty line before the request", b"\r\n" + GET + b"\r\n", "200 open", "GET /")
case(R, "an empty line behind a body", POST + b"Content-Length: 2\r\n\r\nab\r\n" + GET + b"\r\n", "200 200 open",
     "POST /p ab", "GET /")
case(R, "two empty lines before the request", b"\r\n\r\n" + GET + b"\r\n", "400 closed")
case(R, "an empty line that ends with LF alone", b"\n" + GET + b"\r\n", "400 closed")
case(R, "a CR before the request", b"\r" + GET + b"\r\n", "400 closed")
case(R, "request line that ends with LF alone", b"GET / HTTP/1.1\n" + H + b"\r\n", "400 closed")
case(R, "everything ends with LF alone", b"GET / HTTP/1.1\nHost: example.com\n\n", "400 closed")
case(R, "field that ends with LF alone", b"GET / HTTP/1.1\r\nHost: example.com\nX: y\r\n\r\n", "400 closed")
case(R, "last field that ends with LF alone", b"GET / HTTP/1.1\r\nHost: example.com\n\r\n", "400 closed")
case(R, "head that ends with LF alone", GET + b"\n", "400 closed")
case(R, "LF alone hides a field", b"GET / HTTP/1.1\r\n" + H + b"X: a\nTransfer-Encoding: chunked\r\n\r\n", "400 closed")
case(R, "CR alone hides a field", b"GET / HTTP/1.1\r\n" + H + b"X: a\rTransfer-Encoding: chunked\r\n\r\n", "400 closed")
case(R, "request line that ends with CR alone", b"GET / HTTP/1.1\r" + H + b"\r\n", "400 closed")
case(R, "CR CR LF", b"GET / HTTP/1.1\r\r\n" + H + b"\r\n", "400 closed")
case(R, "field that ends with CR CR LF", GET + b"X: y\r\r\n\r\n", "400 closed")
case(R, "CR CR LF at the end of the head", GET + b"\r\r\n", "400 closed")
case(R, "space before the first field", b"GET / HTTP/1.1\r\n Host: example.com\r\n\r\n", "400 closed")
case(R, "a line of spaces before the first field", b"GET / HTTP/1.1\r\n \r\n" + H + b"\r\n", "400 closed")

# ---------------------------------------------------------------- fields

R = "9112 5.1"
case(R, "space before the colon", GET + b"X : y\r\n\r\n", "400 closed")
case(R, "tab before the colon", GET + b"X\t: y\r\n\r\n", "400 closed")
case(R, "space before the colon of Content-Length", POST + b"Content-Length : 3\r\n\r\nabc", "400 closed")
case(R, "space before the colon of Transfer-Encoding", POST + b"Transfer-Encoding : chunked\r\n\r\n" + LAST,
     "400 closed")
case(R, "white space around the value is not part of it", GET + b"X-A: \t y z \t \r\n\r\n", "200 open", "GET /")
case(R, "no white space before the value", GET + b"X-A:y\r\n\r\n", "200 open", "GET /")
case(R, "empty value", GET + b"X-A:\r\n\r\n", "200 open", "GET /")
case(R, "empty value with a space", GET + b"X-A: \r\n\r\n", "200 open", "GET /")
case(R, "colons in the value", GET + b"X-A: a:b:c\r\n\r\n", "200 open", "GET /")
case(R, "no colon", GET + b"Nonsense\r\n\r\n", "400 closed")
case(R, "no name", GET + b": y\r\n\r\n", "400 closed")
case("9112 5.2", "obsolete folding", GET + b"X: a\r\n b\r\n\r\n", "400 closed")
case("9112 5.2", "obsolete folding with a tab", GET + b"X: a\r\n\tb\r\n\r\n", "400 closed")
case("9112 5.2", "folding of an empty value", GET + b"X:\r\n b\r\n\r\n", "400 closed")
case("9112 5.2", "folding of Transfer-Encoding", POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + LAST, "400 closed")
case("9112 5.2", "folding of Content-Length", POST + b"Content-Length: 1\r\n 0\r\n\r\n0123456789", "400 closed")
R = "9110 5.1"
case(R, "name with every character of a token", GET + b"!#$%&'*+-.^`|~0aZ: y\r\n\r\n", "200 open", "GET /")
case(R, "name with a space", GET + b"X Y: z\r\n\r\n", "400 closed")
case(R, "name with a parenthesis", GET + b"X(Y): z\r\n\r\n", "400 closed")
case(R, "name with a slash", GET + b"X/Y: z\r\n\r\n", "400 closed")
case(R, "name in quotation marks", GET + b'"X": z\r\n\r\n', "400 closed")
case(R, "name with NUL", GET + b"X\0Y: z\r\n\r\n", "400 closed")
case(R, "name not in ASCII", GET + b"X\xfc: z\r\n\r\n", "400 closed")
case(R, "name with DEL", GET + b"X\x7f: z\r\n\r\n", "400 closed")
R = "9110 5.5"
case(R, "value with NUL", GET + b"X: a\0b\r\n\r\n", "400 closed")
case(R, "value with a control character", GET + b"X: a\x01b\r\n\r\n", "400 closed")
case(R, "value with a vertical tab", GET + b"X: a\x0bb\r\n\r\n", "400 closed")
case(R, "value with an escape", GET + b"X: a\x1bb\r\n\r\n", "400 closed")
case(R, "value with DEL", GET + b"X: a\x7fb\r\n\r\n", "400 closed")
case(R, "value with a tab", GET + b"X: a\tb\r\n\r\n", "200 open", "GET /")
case(R, "value with obs-text", GET + b"X: \x80\xff\r\n\r\n", "200 open", "GET /")
R = "9110 5.4"
case(R, "100 fields", b"GET / HTTP/1.1\r\n" + H + b"X: y\r\n" * 99 + b"\r\n", "200 open", "GET /")
case(R, "101 fields", b"GET / HTTP/1.1\r\n" + H + b"X: y\r\n" * 100 + b"\r\n", "431 closed")
case(R, "endless fields", b"GET / HTTP/1.1\r\n" + H + b"X: y\r\n" * 500, "431 closed")
case(R, "a long field", GET + b"X: " + b"y" * 60000 + b"\r\n\r\n", "200 open", "GET /")
case(R, "too long a field", GET + b"X: " + b"y" * 70000 + b"\r\n\r\n", "431 closed")
case(R, "a long field within a long head", GET + b"A: b\r\n" * 90 + b"X: " + b"y" * 60000 + b"\r\n\r\n",
     "200 open", "GET /")
case(R, "an endless field", GET + b"X: " + b"y" * 140000, "431 closed")
case(R, "an endless name", GET + b"X" * 70000, "431 closed")
case(R, "fields too long together", GET + (b"X: " + b"y" * 1000 + b"\r\n") * 70 + b"\r\n", "431 closed")

R = "9112 3.2"
case(R, "no Host", b"GET / HTTP/1.1\r\n\r\n", "400 closed")
case(R, "no Host, but other fields", b"GET / HTTP/1.1\r\nX: y\r\n\r\n", "400 closed")
case(R, "no Host in HTTP/1.0", b"GET / HTTP/1.0\r\nX: y\r\n\r\n", "200 closed", "GET /")
case(R, "two Hosts", GET + b"Host: other.example\r\n\r\n", "400 closed")
case(R, "the same Host twice", GET + H + b"\r\n", "400 closed")
case(R, "two Hosts in HTTP/1.0", b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", "400 closed")
case(R, "Host in another case", b"GET / HTTP/1.1\r\nhOsT: a\r\n\r\n", "200 open", "GET /")
case(R, "empty Host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", "200 open", "GET /")
R = "9110 7.2"
case(R, "Host with port", b"GET / HTTP/1.1\r\nHost: a.example:8080\r\n\r\n", "200 open", "GET /")
case(R, "Host with IPv6", b"GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", "200 open", "GET /")
for value in (b"a b", b"a/b", b"me@a", b"a?b", b"a#b", b"a\\b", b"a:b", b"a:80:80", b"[::1", b"[]", b"[x]", b"[::1]a",
              b"<a>", b'"a"', b"\xfc.example", b"http://a"):
    case(R, f"Host {value.decode('latin-1')}", b"GET / HTTP/1.1\r\nHost: " + value + b"\r\n\r\n", "400 closed")

# ---------------------------------------------------------------- Content-Length

R = "9112 6.3"
case(R, "body", POST + b"Content-Length: 3\r\n\r\nabc", "200 open", "POST /p abc")
case(R, "no body", POST + b"\r\n", "200 open", "POST /p")
case(R, "body of nothing", POST + b"Content-Length: 0\r\n\r\n", "200 open", "POST /p")
case(R, "body of GET", GET + b"Content-Length: 3\r\n\r\nabc", "200 open", "GET / abc")
case(R, "body in HTTP/1.0", b"POST /p HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", "200 closed", "POST /p abc")
case(R, "leading zeros", POST + b"Content-Length: 003\r\n\r\nabc", "200 open", "POST /p abc")
case(R, "a request behind the body", POST + b"Content-Length: 3\r\n\r\nabc" + GET + b"\r\n", "200 200 open",
     "POST /p abc", "GET /")
case(R, "what is behind the body is no request", POST + b"Content-Length: 3\r\n\r\nabcd\r\n\r\n", "200 400 closed",
     "POST /p abc")
case(R, "Content-Length twice, the same", POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "400 closed")
case(R, "Content-Length twice", POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "400 closed")
case(R, "Content-Length twice in other cases", POST + b"Content-Length: 0\r\ncontent-length: 44\r\n\r\n" + GET,
     "400 closed")
for value in (b"3, 3", b"3,4", b"+3", b"-3", b"-0", b"0x3", b"3.0", b"3e0", b"3 3", b"", b" ", b"three", b"3;",
              b"\xb3", b"1_0", b"'3'", b"\x0b3", b"3\x00", b"99999999999999999999999", b"18446744073709551619"):
    case(R, f"Content-Length {value.decode('latin-1')!r}", POST + b"Content-Length: " + value + b"\r\n\r\nabc",
         "400 closed")
case("9110 8.6", "white space around Content-Length", POST + b"Content-Length: \t3 \r\n\r\nabc", "200 open",
     "POST /p abc")
case("9110 15.5.14", "Content-Length beyond the limit", POST + b"Content-Length: 1000001\r\n\r\nabc", "413 closed")
case("9110 15.5.14", "Content-Length beyond 64 bit signed", POST + b"Content-Length: 9999999999999999999\r\n\r\n",
     "413 closed")
case(R, "a name that environ cannot tell from Content-Length", POST + b"Content_Length: 44\r\n\r\n" + GET + b"\r\n",
     "200 200 open",
     "POST /p", "GET /")

# ---------------------------------------------------------------- Transfer-Encoding

R = "9112 6.1"
case(R, "both, length first", POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + LAST, "400 closed")
case(R, "both, chunked first", POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + LAST, "400 closed")
case(R, "both, length of nothing", POST + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n" + LAST,
     "400 closed")
case(R, "both, and a request within",
     POST + b"Content-Length: 50\r\nTransfer-Encoding: chunked\r\n\r\n" + LAST + GET + b"\r\n", "400 closed")
case(R, "chunked in HTTP/1.0", b"POST /p HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + LAST, "400 closed")
case(R, "chunked in HTTP/1.0, kept alive",
     b"POST /p HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" + LAST, "400 closed")
case(R, "chunked in another case", POST + b"Transfer-Encoding: cHuNkEd\r\n\r\n" + LAST, "200 open", "POST /p")
case(R, "chunked with white space", POST + b"Transfer-Encoding: \tchunked \r\n\r\n" + LAST, "200 open", "POST /p")
case(R, "chunked with a tab behind", POST + b"Transfer-Encoding: chunked\t\r\n\r\n3\r\nabc\r\n" + LAST + GET + b"\r\n",
     "200 200 open", "POST /p abc", "GET /", strict="400 closed")
case(R, "both, with a tab behind", POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\t\r\n\r\n" + LAST,
     "400 closed")
case(R, "twice, with tabs behind",
     POST + b"Transfer-Encoding: chunked\t\r\nTransfer-Encoding: chunked\t\r\n\r\n" + LAST, "4xx/501 closed")
case("9110 8.6", "white space of every kind around Content-Length", POST + b"Content-Length:\t3 \t\r\n\r\nabc" + GET
     + b"\r\n", "200 200 open", "POST /p abc", "GET /")
case(R, "name in another case", POST + b"tRANSFER-eNCODING: chunked\r\n\r\n" + LAST, "200 open", "POST /p")
case(R, "an unknown coding before", POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + LAST, "501 closed")
for value in (b"identity", b"gzip", b"chunked, gzip", b"chunked, identity", b"chunked, chunked", b"xchunked",
              b"chunkedx", b"chunked;q=1", b'"chunked"', b"'chunked'", b"chunk", b"\x0bchunked", b"chunked\x00",
              b"chunked\x0b", b"chun ked", b"x", b"ch\xfcnked"):
    case(R, f"Transfer-Encoding {value.decode('latin-1')!r}",
         POST + b"Transfer-Encoding: " + value + b"\r\n\r\n" + LAST, "4xx/501 closed")
case(R, "no coding", POST + b"Transfer-Encoding:\r\n\r\n" + LAST, "4xx/501 closed")
case(R, "comma behind", POST + b"Transfer-Encoding: chunked,\r\n\r\n" + LAST, "4xx/501 closed")
case(R, "comma before", POST + b"Transfer-Encoding: ,chunked\r\n\r\n" + LAST, "4xx/501 closed")
case(R, "twice", POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + LAST, "4xx/501 closed")
case(R, "twice, identity first", POST + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n" + LAST,
     "4xx/501 closed")
case(R, "twice, identity behind", POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + LAST,
     "4xx/501 closed")
case(R, "a name that environ cannot tell from Transfer-Encoding",
     POST + b"Transfer_Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc", "200 open", "POST /p abc")

# ---------------------------------------------------------------- chunks

R = "9112 7.1"
case(R, "a chunk", CHUNKED + b"3\r\nabc\r\n" + LAST, "200 open", "POST /p abc")
case(R, "several chunks", CHUNKED + b"1\r\na\r\n2\r\nbc\r\n" + LAST, "200 open", "POST /p abc")
case(R, "no chunk", CHUNKED + LAST, "200 open", "POST /p")
case(R, "size in hexadecimal", CHUNKED + b"A\r\n0123456789\r\n1a\r\nabcdefghijklmnopqrstuvwxyz\r\n" + LAST, "200 open",
     "POST /p 0123456789abcdefghijklmnopqrstuvwxyz")
case(R, "leading zeros", CHUNKED + b"0003\r\nabc\r\n000\r\n\r\n", "200 open", "POST /p abc")
case(R, "a request behind", CHUNKED + b"3\r\nabc\r\n" + LAST + GET + b"\r\n", "200 200 open", "POST /p abc", "GET /")
case(R, "data that look like a chunk", CHUNKED + b"5\r\n0\r\n\r\n\r\n" + LAST, "200 open", "POST /p 0\r\n\r\n")
for name, size in {
    "no size": b"", "sign": b"+3", "minus": b"-3", "0x": b"0x3", "no digit": b"g", "space before": b" 3",
    "space behind": b"3 ",
    "tab behind": b"3\t", "underscore": b"1_0", "digits not in ASCII": b"\xb3",
    "size of 17 digits": b"10000000000000003",
    "endless size": b"f" * 30, "comma": b"3,3", "point": b"3.0", "NUL": b"3\0", "control character": b"\x1f3",
}.items():
    case(R, f"chunk size: {name}", CHUNKED + size + b"\r\nabc\r\n" + LAST, "4xx/501 closed")
case(R, "chunk size that ends with LF alone", CHUNKED + b"3\nabc\r\n" + LAST, "400 closed")
case(R, "chunk size that ends with CR alone", CHUNKED + b"3\rabc\r\n" + LAST, "400 closed")
case(R, "chunk size that ends with CR CR LF", CHUNKED + b"3\r\r\nabc\r\n" + LAST, "400 closed")
case(R, "chunk that ends with LF alone", CHUNKED + b"3\r\nabc\n" + LAST, "400 closed")
case(R, "chunk that ends with CR alone", CHUNKED + b"3\r\nabc\r" + LAST, "400 closed")
case(R, "chunk without an end", CHUNKED + b"3\r\nabc" + LAST, "400 closed")
case(R, "chunk longer than it says", CHUNKED + b"3\r\nabcd\r\n" + LAST, "400 closed")
case(R, "chunk shorter than it says", CHUNKED + b"4\r\nabc\r\n" + LAST, "400 closed")
case(R, "last chunk that ends with LF alone", CHUNKED + b"0\n\r\n", "400 closed")
case(R, "body that ends with LF alone", CHUNKED + b"0\r\n\n", "400 closed")
case(R, "body that ends with two LF", CHUNKED + b"0\n\n", "400 closed")
case("9110 15.5.14", "a chunk beyond the limit", CHUNKED + b"f4241\r\n", "413 closed")
case("9110 15.5.14", "chunks beyond the limit together", CHUNKED + b"3\r\nabc\r\n" + b"F423F\r\n", "413 closed")
R = "9112 7.1.1"
case(R, "extension", CHUNKED + b"3;a=b\r\nabc\r\n" + LAST, "200 open", "POST /p abc")
case(R, "extension without a value", CHUNKED + b"3;a\r\nabc\r\n0;b\r\n\r\n", "200 open", "POST /p abc")
case(R, "extension in quotation marks", CHUNKED + b'3;a="b;\\"c"\r\nabc\r\n' + LAST, "200 open", "POST /p abc")
for extension in (b"; a=b", b" ;a=b", b"\t;\ta", b";a = b", b"; some; parameters=stuff", b' \t; a \t=\t "b ; = c" ; d'):
    case(R, f"extension with white space, {extension.decode()}",
         CHUNKED + b"3" + extension + b"\r\nabc\r\n0" + extension + b"\r\n\r\n" + GET + b"\r\n", "200 200 open",
         "POST /p abc", "GET /", strict="400 closed")
for extension in (b"; ", b" ; ", b";a ", b";a=b ", b";a b", b";a=b c", b" a", b'; a="b', b'; a="b"c', b";a=b\x0b"):
    case(R, f"extension with white space that is none, {extension.decode()!r}",
         CHUNKED + b"3" + extension + b"\r\nabc\r\n" + LAST, "400 closed")
case(R, "white space within a size", CHUNKED + b"1 0;a=b\r\n" + b"x" * 16 + b"\r\n" + LAST, "400 closed")
case(R, "white space before a size", CHUNKED + b" 3;a=b\r\nabc\r\n" + LAST, "400 closed")
case(R, "extension without a name", CHUNKED + b"3;\r\nabc\r\n" + LAST, "400 closed")
case(R, "extension with LF", CHUNKED + b"3;a\nb\r\nabc\r\n" + LAST, "400 closed")
case(R, "extension with CR", CHUNKED + b"3;a\rb\r\nabc\r\n" + LAST, "400 closed")
case(R, "extension with NUL", CHUNKED + b"3;a\0\r\nabc\r\n" + LAST, "400 closed")
case(R, "extension with LF in quotation marks", CHUNKED + b'3;a="\n"\r\nabc\r\n' + LAST, "400 closed")
case(R, "extension too long", CHUNKED + b"3;" + b"a" * 5000 + b"\r\nabc\r\n" + LAST, "400 closed")
case(R, "a short extension with every byte", CHUNKED + b"1;a=b\r\nx\r\n" * 2000 + LAST, "200 open",
     "POST /p " + "x" * 2000)
case(R, "a long extension with every byte", CHUNKED + (b"1;" + b"a" * 1000 + b"\r\nx\r\n") * 20 + LAST, "400 closed")
case(R, "endless extension", CHUNKED + b"3;" + b"a" * 100000, "400 closed")
R = "9112 7.1.2"
case(R, "trailer", CHUNKED + b"3\r\nabc\r\n0\r\nX-T: y\r\n\r\n", "200 open", "POST /p abc [X-T=y]")
case(R, "trailers are not fields of the head", CHUNKED + b"0\r\nHost: other\r\nCookie: a\r\n\r\n", "200 open",
     "POST /p  [Host=other, Cookie=a]")
case(R, "a request behind the trailer", CHUNKED + b"0\r\nX-T: y\r\n\r\n" + GET + b"\r\n", "200 200 open",
     "POST /p  [X-T=y]", "GET /")
case(R, "trailer with a space before the colon", CHUNKED + b"0\r\nX : y\r\n\r\n", "400 closed")
case(R, "trailer that is folded", CHUNKED + b"0\r\nX: y\r\n z\r\n\r\n", "400 closed")
case(R, "trailer that ends with LF alone", CHUNKED + b"0\r\nX: y\n\r\n", "400 closed")
case(R, "trailer with NUL", CHUNKED + b"0\r\nX: \0\r\n\r\n", "400 closed")
case(R, "trailer without a colon", CHUNKED + b"0\r\nX\r\n\r\n", "400 closed")
case("9110 6.5.1", "Content-Length in the trailer", CHUNKED + b"0\r\nContent-Length: 3\r\n\r\n", "400 closed")
case("9110 6.5.1", "Transfer-Encoding in the trailer", CHUNKED + b"0\r\nTransfer-Encoding: chunked\r\n\r\n" + LAST,
     "400 closed")
case(R, "too many trailers", CHUNKED + b"0\r\n" + b"X: y\r\n" * 101 + b"\r\n", "431 closed")
case(R, "trailers too long", CHUNKED + b"0\r\n" + (b"X: " + b"y" * 1000 + b"\r\n") * 80 + b"\r\n", "400 closed")

# ---------------------------------------------------------------- connections

R = "9112 9.3"
case(R, "close", GET + b"Connection: close\r\n\r\n", "200 closed", "GET /")
case(R, "close in another case", GET + b"Connection: CLOSE\r\n\r\n", "200 closed", "GET /")
case(R, "close among others", GET + b"Connection: x, close ,y\r\n\r\n", "200 closed", "GET /")
case(R, "close in a second line", GET + b"Connection: x\r\nConnection: close\r\n\r\n", "200 closed", "GET /")
case(R, "close and keep-alive", GET + b"Connection: keep-alive, close\r\n\r\n", "200 closed", "GET /")
case(R, "no close", GET + b"Connection: closed, xclose\r\n\r\n", "200 open", "GET /")
case(R, "keep-alive", GET + b"Connection: keep-alive\r\n\r\n", "200 open", "GET /")
case(R, "HTTP/1.0 with keep-alive", b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "200 open", "GET /")
case(R, "HTTP/1.0 with keep-alive and close", b"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", "200 closed",
     "GET /")
case(R, "a request behind the last", GET + b"Connection: close\r\n\r\n" + GET + b"\r\n", "200 closed", "GET /")
case(R, "a request behind one of HTTP/1.0", b"GET / HTTP/1.0\r\n\r\n" + GET + b"\r\n", "200 closed", "GET /")
case("9112 9.3.2", "pipelining", (GET + b"\r\n") * 3, "200 200 200 open", "GET /", "GET /", "GET /")
case("9112 9.3.2", "pipelining of bodies",
     POST + b"Content-Length: 1\r\n\r\na" + CHUNKED + b"1\r\nb\r\n" + LAST + GET + b"\r\n",
     "200 200 200 open", "POST /p a", "POST /p b", "GET /")
case("9112 9.3.2", "pipelining up to a bad request", GET + b"\r\nNONSENSE\r\n\r\n" + GET + b"\r\n", "200 400 closed",
     "GET /")
case("9112 9.3.2", "pipelining up to a bad body", CHUNKED + b"x\r\n\r\n" + GET + b"\r\n", "400 closed")
R = "9110 7.8"
case(R, "an upgrade that is declined", GET + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", "200 open", "GET /")
case(R, "an upgrade that is declined, and a request behind",
     GET + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + GET + b"\r\n", "200 200 open", "GET /", "GET /")
case(R, "an upgrade with a body that is declined",
     POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc" + GET + b"\r\n", "200 200 open",
     "POST /p abc", "GET /")
case(R, "an upgrade with chunks that is declined",
     POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n"
     b"3\r\nabc\r\n" + LAST + GET + b"\r\n",
     "200 200 open", "POST /p abc", "GET /")
case(R, "an upgrade with bad chunks",
     POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n" + LAST, "400 closed")
case(R, "Upgrade without Connection", GET + b"Upgrade: h2c\r\n\r\n", "200 open", "GET /")
R = "9110 10.1.1"
case(R, "an expectation nobody knows", POST + b"Expect: 200-ok\r\nContent-Length: 3\r\n\r\n", "417 closed")
case(R, "an expectation in HTTP/1.0 is ignored", b"POST /p HTTP/1.0\r\nExpect: x\r\nContent-Length: 3\r\n\r\nabc",
     "200 closed", "POST /p abc")
case(R, "100-continue without a body", POST + b"Expect: 100-continue\r\n\r\n", "200 open", "POST /p")
case(R, "100-continue, and the body is there already", POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
     "200 open", "POST /p abc")
case(R, "100-continue in another case", POST + b"Expect: 100-Continue\r\nContent-Length: 3\r\n\r\nabc", "200 open",
     "POST /p abc")
