//! Whether an output shows colors.

use std::io::IsTerminal;

use anstyle_query::{clicolor, clicolor_force, no_color, term_supports_color};

/// Returns whether `output` is to get colors: where it is a terminal that has them, unless the user
/// objects, and anywhere if the user forces them.
///
/// `NO_COLOR` wins over `FORCE_COLOR` and `CLICOLOR_FORCE`, and these win over `CLICOLOR=0`,
/// `TERM=dumb` and an output that is no terminal. See <https://no-color.org> and
/// <https://bixense.com/clicolors>.
pub(crate) fn has_color(output: &impl IsTerminal) -> bool {
    let force = std::env::var("FORCE_COLOR")
        .ok()
        .filter(|value| !value.is_empty());
    match force.as_deref() {
        _ if no_color() => false,
        Some("0" | "false") => false,
        Some(_) => true,
        None if clicolor_force()
            && std::env::var_os("CLICOLOR_FORCE").is_some_and(|v| v != "0") =>
        {
            true
        }
        None => clicolor() != Some(false) && output.is_terminal() && is_named_terminal(),
    }
}

/// Returns whether `TERM` names a terminal that has colors. An empty name is no name.
fn is_named_terminal() -> bool {
    std::env::var_os("TERM").is_some_and(|name| !name.is_empty()) && term_supports_color()
}
