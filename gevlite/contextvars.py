"""Context variables: the names of the standard `contextvars`, which work with greenlets as they are.

Each greenlet has a context of its own (greenlet's `gr_context`; PEP 567 lets the interpreter switch it). A gevlite
greenlet begins with a copy of its maker's context; a thread that is a greenlet begins with an empty one, as real
threads do. A greenlet does not see what another one sets.
"""

from contextvars import Context, ContextVar, Token, copy_context

__all__ = ["Context", "ContextVar", "Token", "copy_context"]

__target__ = "contextvars"
__implements__ = __all__
