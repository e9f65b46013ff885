"""``python -m nrd`` is the ``nrd`` command."""

from nrd.cli import main

main()
