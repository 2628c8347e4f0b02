"""The command line: parses, calls, prints. Imports lazily, so that ``happyhorse --help`` is instant."""
