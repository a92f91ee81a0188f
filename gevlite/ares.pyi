from pycares import Channel as channel

__all__ = ["channel"]
