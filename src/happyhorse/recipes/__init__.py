"""Runs as Python functions: each returns a frozen configuration and may derive from another."""
