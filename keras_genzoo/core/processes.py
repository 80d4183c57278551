"""Processes that end with whoever started them."""

import os
import signal
import threading


def end_with_stdin():
    """End this process when stdin ends, for then whoever started it is gone."""

    def watch():
        while os.read(0, 1024):  # not `sys.stdin`, whose lock Python wants when it ends
            pass
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
