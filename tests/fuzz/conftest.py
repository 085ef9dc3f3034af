"""These are programs, not tests, and one of them needs the fuzzer to be imported."""

collect_ignore = ["one.py", "run.py", "targets.py"]
