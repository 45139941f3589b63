"""The catalogue of bad inputs and faults, and the record that a run of the tests makes of it.

`cases.toml` says of each number what happens and what has to come of it; tests are marked with the numbers they show.
While they run, `plugin` takes down what their servers and clients saw (tests/support/seen.py), and after a whole run
with `CI_REQUIRE_ALL=1` it holds the run to the catalogue. `record.json` is such a run, and docs/reference/faults.md is
made from it.

Invariants, asserted by tests/support/stage.py after every case that has a process:

- I1: no canary in its output, in answers of its own, or in its metrics.
- I2: no exchange and no tunnel is left, and no file more than when the case began. Tasks and timers can't be seen from
  outside; what they hold can.
- I3: a good request on a fresh stream succeeds with U=1 and its own body.
- I4: its output has no traceback, and nothing that nobody awaited, retrieved or closed.
- I5: it answers meanwhile. By how much its loop lags is measured by the long form, since it is about time.
"""
