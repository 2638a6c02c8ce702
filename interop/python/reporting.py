"""What every Python client program shares: reporting checks, and the worker loop. Line protocol: interop/README.md."""

import sys
import threading
import time
import traceback
from urllib.parse import parse_qs, quote_plus, urlencode


def equal(actual, expected, what="value"):
    if actual != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {actual!r}")


def truly(condition, what):
    if not condition:
        raise AssertionError(f"does not hold: {what}")


def run_checks(checks, broker, only=(), limit=40):
    """Runs each check in a thread of its own, so that one that hangs costs only its own cell."""
    for key, check in checks.items():
        if only and key not in only:
            continue
        failure = []

        def attempt(check=check, failure=failure):
            try:
                check(broker)
            except BaseException as error:  # noqa: BLE001: whatever it is, it is the cell's reason
                frame = traceback.extract_tb(error.__traceback__)
                line = next((f.lineno for f in reversed(frame) if "site-packages" not in f.filename), 0)
                failure.append(f"{type(error).__name__}: {error} (line {line})")

        began = time.monotonic()
        thread = threading.Thread(target=attempt, daemon=True)
        thread.start()
        thread.join(limit)
        if thread.is_alive():
            frame = sys._current_frames().get(thread.ident)
            where = "".join(traceback.format_stack(frame)[-2:]) if frame else "?"
            failure.append(f"hangs: {where}")
        ms = int((time.monotonic() - began) * 1000)
        report = {"cell": key, "ms": ms, "ok": 0 if failure else 1}
        if failure:
            report["error"] = failure[0]
        print(urlencode(report), flush=True)


def serve(operations):
    """Answers one request per line of standard input until it ends."""
    for line in sys.stdin:
        request = parse_qs(line.strip(), keep_blank_values=True)
        one = {key: values[0] for key, values in request.items()}
        answer = f"id={one.get('id', '')}"
        try:
            bodies = operations[one["op"]](one, request.get("body", []))
            answer += "&ok=1" + "".join(f"&body={quote_plus(body)}" for body in bodies or [])
        except Exception as error:  # noqa: BLE001: told to the harness
            answer += f"&ok=0&error={quote_plus(f'{type(error).__name__}: {error}')}"
        print(answer, flush=True)
