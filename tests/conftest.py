"""What all tests need."""

import signal

# A shell starts background jobs with Ctrl-C ignored, which tests of Ctrl-C, and the processes they start, would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
