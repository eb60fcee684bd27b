"""What all tests need."""

import signal

# A shell starts background jobs with Ctrl-C ignored, which tests of Ctrl-C and their processes would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
