"""Measurements beside what Penstock claims to beat. One thread, unless a benchmark says otherwise."""

import os

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # heeded only before numpy is loaded
