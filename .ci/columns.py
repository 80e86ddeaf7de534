"""Fails when a comment line of the sources is longer than 100 columns.

Long lines of code are rustfmt's business. A string that cannot be broken may be longer.
"""

import pathlib
import re
import subprocess
import sys

MAX_COLUMNS = 100
# How a comment begins, by the ending of the file's name.
SLASHES = re.compile(r"^\s*(//|/\*|\*)|\s//[/!]? ")
HASHES = re.compile(r"^\s*#")
MARKUP = re.compile(r"^\s*<!--")
COMMENTS = {
    ".rs": SLASHES,
    ".js": SLASHES,
    ".mjs": SLASHES,
    ".ts": SLASHES,
    ".css": SLASHES,
    ".html": MARKUP,
    ".py": HASHES,
    ".toml": HASHES,
    ".yml": HASHES,
    ".sh": HASHES,
    "": HASHES,
}
# A link alone on its line cannot be broken.
LINK = re.compile(r"^\s*(//[/!]?|\*|#)?\s*(\[[^\]]*\]: )?<?https?://\S+$")


def main():
    names = subprocess.run(
        ["git", "ls-files", "-z"], check=True, capture_output=True, text=True
    ).stdout.split("\0")
    long = []
    for name in filter(None, names):
        path = pathlib.Path(name)
        comment = COMMENTS.get(path.suffix)
        if comment is None or path.name.startswith("LICENSE") or "seeds" in path.parts:
            continue
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (UnicodeDecodeError, FileNotFoundError):
            continue
        in_block = False
        for number, line in enumerate(lines, 1):
            # A block comment begins a line here; elsewhere `/*` may belong to a pattern.
            opens = comment is SLASHES and line.lstrip().startswith("/*") and "*/" not in line
            is_comment = in_block or comment.search(line)
            in_block = opens or (in_block and "*/" not in line)
            if len(line) > MAX_COLUMNS and is_comment and not LINK.match(line):
                long.append(f"{name}:{number}: {len(line)} columns")
    print("\n".join(long))
    print(f"{len(long)} comment lines over {MAX_COLUMNS} columns")
    return 1 if long else 0


if __name__ == "__main__":
    sys.exit(main())
