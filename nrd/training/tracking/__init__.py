"""MLflow as a live mirror of the runs' folders.

Training never imports MLflow and never waits for a server: it writes its folders, and a separate process copies them
into an MLflow store, live (:func:`ensure_follower`) or on demand (:func:`sync`). The folders stay the truth; a lost
store is made anew from them. Nothing here imports MLflow before it is used.
"""

from nrd.training.tracking.follower import ensure_follower, follow
from nrd.training.tracking.mirror import Summary, sync
from nrd.training.tracking.records import known_runs
from nrd.training.tracking.store import TrackingError, is_enabled, prepare_store, store_uri
from nrd.training.tracking.ui import open_ui

__all__ = [
    "Summary",
    "TrackingError",
    "ensure_follower",
    "follow",
    "is_enabled",
    "known_runs",
    "open_ui",
    "prepare_store",
    "store_uri",
    "sync",
]
