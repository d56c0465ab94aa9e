"""Static pages on a features directory and on a track of it, which open from disk."""

from .page import write_run_report, write_track_report

__all__ = ["write_run_report", "write_track_report"]
