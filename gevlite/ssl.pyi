import ssl as _std
from ssl import *  # noqa: F403

class SSLSocket(_std.SSLSocket): ...  # type: ignore[no-redef]

class SSLContext(_std.SSLContext):  # type: ignore[no-redef]
    sslsocket_class: type[SSLSocket]
