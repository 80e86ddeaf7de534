//! The names of the channels of followed files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use outrace::{ChannelName, ProcessId};

use crate::failure::Failure;

/// The channels of files, no two the same.
#[derive(Default)]
pub(super) struct Names(HashMap<ProcessId, PathBuf>);

impl Names {
    /// Returns the channel of a file by the id that was given for it.
    pub(super) fn take(&mut self, file: &Path, id: &str) -> Result<ChannelName, Failure> {
        let id = ProcessId::parse(id).map_err(Failure::usage)?;
        if self.0.insert(id.clone(), file.to_owned()).is_some() {
            return Err(Failure::usage(format!("--id {id} is given twice")));
        }
        Ok(channel(&id))
    }

    /// Returns a new channel for a file: its base name, with as many folders before it as make the
    /// name unique, or with a number if no folder does.
    pub(super) fn choose(&mut self, file: &Path) -> ChannelName {
        let id = candidates(file)
            .find(|id| !self.0.contains_key(id))
            .expect("there is a number for each file");
        self.0.insert(id.clone(), file.to_owned());
        channel(&id)
    }

    /// Returns the channel that the file had, or a new one.
    pub(super) fn of(&mut self, file: &Path) -> ChannelName {
        let known = self.0.iter().find(|(_, path)| *path == file);
        match known.map(|(id, _)| channel(id)) {
            Some(channel) => channel,
            None => self.choose(file),
        }
    }
}

fn channel(id: &ProcessId) -> ChannelName {
    ChannelName::parse(&format!("file:{id}")).expect("what a process id holds, a channel name does")
}

/// Yields names for a file, the best first: `access.log`, `nginx-access.log`,
/// `log-nginx-access.log`, …, then `access.log-2`, `access.log-3`, ….
fn candidates(file: &Path) -> impl Iterator<Item = ProcessId> {
    let parts: Vec<_> = file
        .components()
        .filter_map(|part| match part {
            std::path::Component::Normal(part) => Some(part.to_string_lossy().into_owned()),
            _ => None,
        })
        .collect();
    let id = |text: String| ProcessId::from_command(text.replace('/', "-").as_ref());
    let base = parts.last().cloned().unwrap_or_else(|| "file".to_owned());
    // `/dev/fd/63` is called fd-63.
    let base_parts = if file.starts_with("/dev/fd") { 2 } else { 1 };
    let with_folders: Vec<_> = (0..=parts.len().saturating_sub(base_parts))
        .rev()
        .filter(|&from| from < parts.len())
        .map(|from| parts[from..].join("-"))
        .collect();
    // Cut, so that the number still fits into the length of an id.
    let short: String = base.chars().take(100).collect();
    let numbered = (2_u64..).map(move |number| format!("{short}-{number}"));
    with_folders.into_iter().chain(numbered).map(id)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use proptest::prelude::*;

    fn named(files: &[&str], ids: &[&str]) -> Result<Vec<String>, Failure> {
        let mut names = Names::default();
        let mut named = Vec::new();
        for (at, file) in files.iter().map(Path::new).enumerate() {
            let channel = match ids.get(at) {
                Some(id) => names.take(file, id)?,
                None => names.choose(file),
            };
            named.push(channel.as_str().to_owned());
        }
        Ok(named)
    }

    #[test]
    fn channels_are_named_by_ids_base_names_and_folders_where_those_are_alike() {
        let files = [
            "/var/log/a/x.log",
            "/var/log/b/x.log",
            "x.log",
            "/var/log/b/x.log",
            "my log",
            "/dev/stdin",
            "/dev/fd/63",
        ];
        assert_eq!(
            named(&files, &[]).unwrap(),
            [
                "file:x.log",
                "file:b-x.log",
                "file:x.log-2",
                "file:log-b-x.log",
                "file:my-log",
                "file:stdin",
                "file:fd-63",
            ]
        );
        assert_eq!(
            named(&["a/x", "b/x"], &["x"]).unwrap(),
            ["file:x", "file:b-x"]
        );
        assert!(named(&["a", "b"], &["x", "x"]).is_err());
        assert!(named(&["a"], &["no id"]).is_err());
    }

    #[test]
    fn a_file_that_comes_back_has_its_old_channel() {
        let mut names = Names::default();
        let first = names.of(Path::new("/a/x.log"));
        assert_ne!(names.of(Path::new("/b/x.log")), first);
        assert_eq!(names.of(Path::new("/a/x.log")), first);
    }

    proptest! {
        #[test]
        fn no_two_files_share_a_channel(files in prop::collection::vec("(/?[aé.]{1,3}){1,3}|[a]{120,140}", 1..12)) {
            let mut names = Names::default();
            let named: HashSet<_> = files.iter().map(|file| names.choose(Path::new(file))).collect();
            prop_assert_eq!(named.len(), files.len());
        }
    }
}
