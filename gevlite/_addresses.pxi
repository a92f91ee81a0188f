# Part of _socketio.pyx: addresses, between the form of the socket module and that of C.

cdef extern from "netinet/in.h" nogil:
    struct in_addr:
        pass
    struct in6_addr:
        pass
    struct sockaddr_in:
        unsigned short sin_family
        unsigned short sin_port
        in_addr sin_addr
    struct sockaddr_in6:
        unsigned short sin6_family
        unsigned short sin6_port
        uint32_t sin6_flowinfo
        in6_addr sin6_addr
        uint32_t sin6_scope_id
    unsigned short ntohs(unsigned short n)
    unsigned short htons(unsigned short n)
    uint32_t ntohl(uint32_t n)
    uint32_t htonl(uint32_t n)

cdef extern from "arpa/inet.h" nogil:
    const char *inet_ntop(int af, const void *src, char *dst, socklen_t size)
    int inet_pton(int af, const char *src, void *dst)

cdef extern from "sys/un.h" nogil:
    struct sockaddr_un:
        unsigned short sun_family
        char *sun_path

cdef extern from *:
    """
    #include <stddef.h>
    #include <sys/un.h>
    #define GEVLITE_SUN_PATH offsetof(struct sockaddr_un, sun_path)
    #ifdef __linux__
    #define GEVLITE_ABSTRACT_NAMES 1
    #else
    #define GEVLITE_ABSTRACT_NAMES 0
    #endif
    """
    size_t GEVLITE_SUN_PATH
    bint GEVLITE_ABSTRACT_NAMES


cdef inline bint plain_family(int family) noexcept:
    return family == AF_INET or family == AF_INET6 or family == AF_UNIX


cdef object from_sockaddr(sockaddr_storage *storage, socklen_t size):
    """The Python form of an address, as the socket module gives it."""
    cdef char[64] text
    cdef sockaddr_in *v4
    cdef sockaddr_in6 *v6
    cdef char *path
    cdef Py_ssize_t n
    if size == 0:
        return None
    if storage.ss_family == AF_INET:
        v4 = <sockaddr_in *> storage
        inet_ntop(AF_INET, &v4.sin_addr, text, sizeof(text))
        return (text.decode("ascii"), ntohs(v4.sin_port))
    if storage.ss_family == AF_INET6:
        v6 = <sockaddr_in6 *> storage
        inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof(text))
        return (text.decode("ascii"), ntohs(v6.sin6_port), ntohl(v6.sin6_flowinfo), v6.sin6_scope_id)
    if storage.ss_family == AF_UNIX:
        n = <Py_ssize_t> size - <Py_ssize_t> GEVLITE_SUN_PATH
        if n <= 0:
            return ""
        path = <char *> storage + GEVLITE_SUN_PATH
        if path[0] == 0 and GEVLITE_ABSTRACT_NAMES:
            return path[:n]             # unix(7); elsewhere it has no name
        # In C: an exception raised in Python code, by a kill say, would lose an accepted connection.
        return PyUnicode_DecodeFSDefault(path)
    return None


cdef socklen_t to_sockaddr(int family, object address, sockaddr_storage *storage) except? 0:
    """The C form of a numeric IPv4 or IPv6 address; 0 if it is anything else."""
    cdef sockaddr_in *v4 = <sockaddr_in *> storage
    cdef sockaddr_in6 *v6 = <sockaddr_in6 *> storage
    cdef bytes host
    cdef Py_ssize_t n
    cdef object port
    if type(address) is not tuple or (family != AF_INET and family != AF_INET6):
        return 0
    n = len(<tuple> address)
    if n < 2 or type(address[0]) is not str or type(address[1]) is not int or not (<str> address[0]).isascii():
        return 0
    port = address[1]
    if not 0 <= port <= 65535:
        raise OverflowError("port must be 0-65535.")
    host = (<str> address[0]).encode("ascii")
    memset(storage, 0, sizeof(sockaddr_storage))
    if family == AF_INET:
        if n != 2 or inet_pton(AF_INET, host, &v4.sin_addr) != 1:
            return 0
        v4.sin_family = AF_INET
        v4.sin_port = htons(<unsigned short> port)
        return sizeof(sockaddr_in)
    if n > 4 or inet_pton(AF_INET6, host, &v6.sin6_addr) != 1:
        return 0
    v6.sin6_family = AF_INET6
    v6.sin6_port = htons(<unsigned short> port)
    if n > 2:
        if not 0 <= address[2] <= 0xFFFFF:
            raise OverflowError("flowinfo must be 0-1048575.")
        v6.sin6_flowinfo = htonl(address[2])
    if n > 3:
        v6.sin6_scope_id = address[3]
    return sizeof(sockaddr_in6)
