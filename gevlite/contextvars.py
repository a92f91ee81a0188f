"""Context variables: the names of the standard `contextvars`, which greenlets need no other version of.

Each greenlet has a context of its own (greenlet's `gr_context`; PEP 567 lets the interpreter switch it): a gevlite
greenlet begins with a copy of its maker's, a thread that is a greenlet with an empty one, as real threads do. What one
greenlet sets no other sees.
"""

from contextvars import Context, ContextVar, Token, copy_context

__all__ = ["Context", "ContextVar", "Token", "copy_context"]

__target__ = "contextvars"
__implements__ = __all__
