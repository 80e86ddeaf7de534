"""Checks the licence of every dependency against the allow list of deny.toml, as `cargo deny check licenses` does.

Reads the output of `cargo metadata` on standard input. This needs nothing but Python, where cargo-deny would have to be built first.
"""

import json
import re
import sys
import tomllib


def is_allowed(expression, allowed):
    """Whether an SPDX expression can be satisfied: `OR` chooses, `AND` needs all, `WITH` is a licence of its own name."""
    tokens = re.findall(r"[()]|[^\s()/]+|/", expression)
    position = 0

    def peek():
        return tokens[position] if position < len(tokens) else None

    def take():
        nonlocal position
        token = peek()
        position += 1
        return token

    def alternatives():
        holds = requirements()
        while peek() in ("OR", "/"):
            take()
            holds = requirements() or holds
        return holds

    def requirements():
        holds = licence()
        while peek() == "AND":
            take()
            holds = licence() and holds
        return holds

    def licence():
        token = take()
        if token == "(":
            holds = alternatives()
            if take() != ")":
                raise ValueError(f"no closing parenthesis in {expression!r}")
            return holds
        if token is None:
            raise ValueError(f"{expression!r} ends too soon")
        if peek() == "WITH":
            take()
            token = f"{token} WITH {take()}"
        return token in allowed

    holds = alternatives()
    if peek() is not None:
        raise ValueError(f"{peek()!r} is out of place in {expression!r}")
    return holds


def main():
    with open("deny.toml", "rb") as file:
        allowed = set(tomllib.load(file)["licenses"]["allow"])
    packages = json.load(sys.stdin)["packages"]
    refused = [
        f"{package['name']} {package['version']}: {package['license'] or 'no licence stated'}"
        for package in packages
        if not package["license"] or not is_allowed(package["license"], allowed)
    ]
    for line in refused:
        print(f"not allowed by deny.toml: {line}", file=sys.stderr)
    print(f"{len(packages) - len(refused)} of {len(packages)} packages have a licence that deny.toml allows")
    sys.exit(bool(refused))


main()
