"""``python -m happyhorse`` is the command ``happyhorse``."""

from happyhorse.cli.main import main

main()
