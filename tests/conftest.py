"""What all tests share."""

from __future__ import annotations

import signal

# Some tests interrupt processes. A runner that was started in the background hands down an ignored SIGINT, which
# Python and its children would go on ignoring.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
