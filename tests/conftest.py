"""What all tests share: few threads, so that test processes side by side do not fight over the cores."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
