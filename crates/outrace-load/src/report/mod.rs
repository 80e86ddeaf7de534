//! Reports: tables for a terminal, and a page with plots.

mod axis;
pub(crate) mod format;
pub(crate) mod html;
pub(crate) mod machine;
pub(crate) mod markdown;
pub(crate) mod nodes;
mod notes;
mod plot;
pub(crate) mod table;
