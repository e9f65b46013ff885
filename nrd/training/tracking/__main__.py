"""``python -m nrd.training.tracking follow --root ROOT``: the live follower's process."""

import argparse
import os
from pathlib import Path

from nrd.layout import Layout
from nrd.training.tracking.follower import IDLE_SECONDS, POLL_SECONDS, follow


def main() -> None:
    """Follow a project's runs at low priority."""
    parser = argparse.ArgumentParser(prog="python -m nrd.training.tracking", description=__doc__)
    follower = parser.add_subparsers(required=True).add_parser("follow", help="mirror runs live until none is active")
    follower.add_argument("--root", type=Path, default=Path())
    follower.add_argument("--poll", type=float, default=POLL_SECONDS)
    follower.add_argument("--idle", type=float, default=IDLE_SECONDS)
    arguments = parser.parse_args()
    os.nice(10)
    follow(Layout(arguments.root), poll=arguments.poll, idle=arguments.idle)


if __name__ == "__main__":
    main()
