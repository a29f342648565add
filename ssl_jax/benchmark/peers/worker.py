"""A child process that trains when told to: one line of JSON in, one line of JSON out. Standard library only.

    python worker.py jax_mae.py '{"cpu": 1, ...}'

The script defines `build(spec) -> step`, and `step()` trains once and returns its loss as a float, which makes it wait for
the device. Another interpreter may run it than the parent's.
"""

import json
import os
import runpy
import sys
import time


def main() -> None:
    """Build what the script builds, say so, and serve commands until the input ends."""
    script, spec = sys.argv[1], json.loads(sys.argv[2])
    if spec.get("cpu") is not None:
        os.sched_setaffinity(0, {spec["cpu"]})  # before jax or torch count the processors
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print must not mix with the answers
    step = runpy.run_path(script)["build"](spec)

    def answer(value: dict) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    answer({"ready": True})
    for line in sys.stdin:
        command = json.loads(line)
        wall, cpu = time.perf_counter(), time.process_time()
        losses = [step() for _ in range(command["steps"])]
        taken = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        answer({"losses": losses, **taken})


if __name__ == "__main__":
    main()
