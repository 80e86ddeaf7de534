//! Names of channels without a kind, where the name of a process or file may be meant.

use outrace::client::ChannelLister;
use tokio::task::JoinHandle;

use crate::console::notice;

/// The kinds of channels that `outrace` itself publishes on.
const KINDS: [&str; 2] = ["process", "file"];

/// Spawns a task that says so if a channel does not exist, and that of a process or file with this
/// name does. Returns `None` if all names have a kind.
pub(super) fn check(lister: ChannelLister, channels: &[String]) -> Option<JoinHandle<()>> {
    let bare = channels.iter().filter(|name| !name.contains([':', '*']));
    let bare: Vec<String> = bare.cloned().collect();
    if bare.is_empty() {
        return None;
    }
    Some(tokio::spawn(async move {
        // A server that cannot be asked is reported by the watcher.
        let Ok(existing) = lister.channels().await else {
            return;
        };
        let exists = |name: &str| existing.iter().any(|channel| channel.as_str() == name);
        for name in bare.iter().filter(|name| !exists(name)) {
            let meant = KINDS.iter().map(|kind| format!("{kind}:{name}"));
            if let Some(meant) = meant.into_iter().find(|name| exists(name)) {
                notice!("there is no channel {name} yet; to watch {meant}, type {meant}");
            }
        }
    }))
}
