"""Pictures and sonifications of tracks and stems (extra ``report``)."""
