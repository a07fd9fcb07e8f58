"""Trainings that are killed end bit-identical: `make faults`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(("way", "count", "least"), [("moments", 50, 50), ("calls", 1, 30)])
def test_a_killed_run_ends_bit_identical(tmp_path, way, count, least):
    done = subprocess.run(
        [sys.executable, "-W", "error", Path(__file__).with_name("killed.py"), tmp_path, way, str(count)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    result = json.loads(done.stdout)
    assert result["kills"] >= least and result["same"] == result.get("runs", result["kills"])
