//! Who owns which process: the children that this process started, the descendants of each, and the
//! orphans among them that it adopts.

mod lineage;
mod listing;
mod member;
mod owned;
mod reaper;
mod spawner;

pub(super) use lineage::Lineage;
pub use lineage::LineageMark;
pub(super) use listing::Listing;
pub(super) use member::Member;
pub use member::Unstopped;
pub use owned::OwnedChild;
pub use reaper::OrphanReaper;
pub(super) use spawner::spawn;
