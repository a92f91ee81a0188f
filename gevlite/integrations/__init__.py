"""Ties to other people's libraries that cannot become cooperative by patching alone; each module is for one of them."""
