//! One check of a soak.

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CheckVerdict {
    Holds,
    Fails,
    /// Too little was measured to judge.
    NotJudged,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Check {
    pub(super) name: &'static str,
    /// The measured figures and their limits in words.
    pub(super) measured: String,
    pub(super) verdict: CheckVerdict,
}

impl Check {
    pub(super) fn new(name: &'static str, holds: bool, measured: String) -> Check {
        let verdict = if holds {
            CheckVerdict::Holds
        } else {
            CheckVerdict::Fails
        };
        Check {
            name,
            measured,
            verdict,
        }
    }
}
