//! The `outrace` binary.

fn main() {}
