# What the scripts of this folder share. Sourced by them, from the root of the repository.
# shellcheck shell=bash

# The metadata of the packages name this folder.
out=target/packages

version() {
    sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1
}

# Builds the program for a target, or for this machine without one, and prints its path. With
# OUTRACE_BIN no program is built.
# shellcheck disable=SC2120 # packaging/archive passes the target
program() {
    local target=${1:-}
    if [ -n "${OUTRACE_BIN:-}" ]; then
        echo "$OUTRACE_BIN"
        return
    fi
    cargo build --locked --release --package outrace-cli ${target:+--target "$target"} >&2
    echo "${CARGO_TARGET_DIR:-target}/${target:+$target/}release/outrace"
}

# Has a program that runs here make its completions and manual pages in a folder.
documents() {
    local program=$1 folder=$2
    rm -rf "$folder/man" "$folder/completions"
    mkdir -p "$folder/completions"
    "$program" man "$folder/man"
    "$program" completions bash >"$folder/completions/outrace"
    "$program" completions zsh >"$folder/completions/_outrace"
    "$program" completions fish >"$folder/completions/outrace.fish"
}

# Puts the program and its documents where the metadata of the packages look for them.
stage() {
    local program
    program=$(program "")
    mkdir -p "$out/stage"
    install -m 755 "$program" "$out/stage/outrace"
    documents "$out/stage/outrace" "$out/stage"
    gzip --force --best --no-name "$out"/stage/man/*.1
}
