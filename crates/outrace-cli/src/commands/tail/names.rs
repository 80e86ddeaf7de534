//! The names of the channels of followed files.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use outrace::{ChannelName, ProcessId};

use crate::failure::Failure;

/// Returns a channel for each file, no two the same.
///
/// The first files take the given ids. Each other file takes its base name, with as many folders
/// before it as make the name unique, or with a number if no folder does.
pub(super) fn channels(files: &[PathBuf], ids: &[String]) -> Result<Vec<ChannelName>, Failure> {
    if ids.len() > files.len() {
        return Err(Failure::usage(format!(
            "there are {} --id for {} files",
            ids.len(),
            files.len()
        )));
    }
    let mut taken = HashSet::new();
    let mut names = Vec::with_capacity(files.len());
    for id in ids {
        let id = ProcessId::parse(id).map_err(Failure::usage)?;
        if !taken.insert(id.clone()) {
            return Err(Failure::usage(format!("--id {id} is given twice")));
        }
        names.push(id);
    }
    for file in &files[ids.len()..] {
        let id = candidates(file)
            .find(|id| !taken.contains(id))
            .expect("there is a number for each file");
        taken.insert(id.clone());
        names.push(id);
    }
    let channel = |id: ProcessId| {
        ChannelName::parse(&format!("file:{id}"))
            .expect("what a process id holds, a channel name does")
    };
    Ok(names.into_iter().map(channel).collect())
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
    let with_folders: Vec<_> = (0..parts.len())
        .rev()
        .map(|from| parts[from..].join("-"))
        .collect();
    // Cut, so that the number still fits into the length of an id.
    let short: String = base.chars().take(100).collect();
    let numbered = (2_u64..).map(move |number| format!("{short}-{number}"));
    with_folders.into_iter().chain(numbered).map(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn named(files: &[&str], ids: &[&str]) -> Result<Vec<String>, Failure> {
        let files: Vec<_> = files.iter().map(PathBuf::from).collect();
        let ids: Vec<_> = ids.iter().map(|&id| id.to_owned()).collect();
        Ok(channels(&files, &ids)?
            .iter()
            .map(|channel| channel.as_str().to_owned())
            .collect())
    }

    #[test]
    fn channels_are_named_by_ids_base_names_and_folders_where_those_are_alike() {
        let files = [
            "/var/log/a/x.log",
            "/var/log/b/x.log",
            "x.log",
            "/var/log/b/x.log",
            "my log",
        ];
        assert_eq!(
            named(&files, &[]).unwrap(),
            [
                "file:x.log",
                "file:b-x.log",
                "file:x.log-2",
                "file:log-b-x.log",
                "file:my-log"
            ]
        );
        assert_eq!(
            named(&["a/x", "b/x"], &["x"]).unwrap(),
            ["file:x", "file:b-x"]
        );
        assert!(named(&["a"], &["x", "y"]).is_err());
        assert!(named(&["a", "b"], &["x", "x"]).is_err());
        assert!(named(&["a"], &["no id"]).is_err());
    }

    proptest! {
        #[test]
        fn no_two_files_share_a_channel(files in prop::collection::vec("(/?[aé.]{1,3}){1,3}|[a]{120,140}", 1..12)) {
            let files: Vec<_> = files.iter().map(PathBuf::from).collect();
            let names = channels(&files, &[]).unwrap();
            prop_assert_eq!(names.iter().collect::<HashSet<_>>().len(), files.len());
        }
    }
}
