import ssl as _std
from ssl import *  # noqa: F403

from gevlite._core import Hub

__implements__: list[str]
__imports__: list[str]
SAFE_PROPERTIES: dict[str, property]

# Also a gevlite.socket.socket, which a type checker takes for the standard class that it extends.
class SSLSocket(_std.SSLSocket):  # type: ignore[no-redef]
    @property
    def hub(self) -> Hub: ...

class SSLContext(_std.SSLContext):  # type: ignore[no-redef]
    sslsocket_class: type[_std.SSLSocket]
