"""Runs the Autobahn cases against the programs that `.ci/conformance` has built.

Fails when a case fails or does not run.

Arguments: patterns of cases to run instead of all, such as `6.*`.
"""

import asyncio
import collections
import contextlib
import signal
import sys

from kosoku import FailureError, run_fuzzingclient

# Group 9 measures speed with messages beyond the limit of the server. Groups 12 and 13 test
# compression, which the server does not offer.
GROUPS = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"]
ALL = 247

# The cases that only an echo server passes.
ECHOED = [
    *["1.*", "5.3", "5.4", "5.5", "5.6", "5.7", "5.8", "5.19", "5.20", "6.1.*", "6.2.*", "6.5.*"],
    *["6.6.2", "6.6.5", "6.6.7", "6.6.9", "6.6.11", "6.7.*", "6.9.*", "6.11.1", "6.11.2", "6.11.3", "6.11.4", "6.22.*", "6.23.*"],
    *["7.1.1", "10.*"],
]
NOT_ECHOED = 151

# Seconds; more than all cases take on a busy machine. A server that hangs fails here.
TIMEOUT = 240


@contextlib.asynccontextmanager
async def serving(*command):
    """Starts a server, yields the address that it prints, and stops it. Fails if it ended before."""
    server = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    address = None
    while address is None:
        line = (await server.stdout.readline()).decode()
        if not line:
            sys.exit(f"{command[0]} has ended before it listened")
        address = next((word.rstrip(",") for word in line.split() if word.startswith("ws://")), None)
    drain = asyncio.create_task(server.stdout.read())
    try:
        yield address
    finally:
        alive = server.returncode is None
        if alive:
            server.send_signal(signal.SIGINT)
        await server.wait()
        said = (await drain).decode()
        if not alive or "panicked" in said:
            sys.exit(f"{command[0]} has ended with code {server.returncode}: {said}")


async def run(name, include, exclude, expected, *command):
    """Runs the cases against one server. Returns whether all ran and none failed."""
    async with serving(*command) as address:
        try:
            async with asyncio.timeout(TIMEOUT):
                results = await run_fuzzingclient(address, include, exclude, concurrency=2)
        except FailureError as failure:
            results = failure.results
    failed = [
        case
        for case in results
        if case.behavior.value not in ("OK", "NON-STRICT", "INFORMATIONAL")
        or case.behavior_close.value not in ("OK", "INFORMATIONAL")
    ]
    for case in failed:
        print(f"{name}: case {case.case_id} failed: {case.behavior.value}, {case.behavior_close.value}")
        print(f"    {case.description}\n    expected: {case.expectation}\n    {case.result} {case.result_close}")
    counts = collections.Counter(case.behavior.value for case in results)
    print(f"{name}: {len(results)} cases, {len(failed)} failed:", *(f"{n} {what}" for what, n in counts.most_common()))
    for case in results:
        if case.behavior.value == "NON-STRICT":
            print(f"    not strict: {case.case_id}")
    if expected is not None and len(results) != expected:
        print(f"{name}: {expected} cases were expected")
        return False
    return not failed


async def main():
    chosen = sys.argv[1:]
    include = chosen or GROUPS
    echo = await run(
        "echo", include, [], None if chosen else ALL, "target/debug/examples/echo", "--listen", "127.0.0.1:0"
    )
    serve = await run(
        "outrace serve",
        include,
        ECHOED,
        None if chosen else NOT_ECHOED,
        *["target/debug/outrace", "serve", "--listen", "127.0.0.1:0"],
    )
    sys.exit(not (echo and serve))


asyncio.run(main())
