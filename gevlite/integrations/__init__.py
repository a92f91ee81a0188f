"""Support for libraries that cannot become cooperative by patching alone, one module for each library."""
