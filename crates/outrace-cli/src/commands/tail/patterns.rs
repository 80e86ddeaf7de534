//! Patterns of file names, and the files that they match as time goes by.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use glob::{MatchOptions, Pattern};

use crate::failure::Failure;

/// How long a file may be gone before its following ends.
const MAX_ABSENCE: Duration = Duration::from_secs(60);

/// As in a shell: `*` matches neither a `/` nor the dot of a hidden file.
const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// The device, the inode and the time of creation of a file. The time tells a new file from a
/// removed one that had the same inode.
type Identity = (u64, u64, Option<SystemTime>);

/// The regular files that match, each with its identity.
pub(super) type Found = HashMap<PathBuf, Identity>;

/// Returns whether an argument is a pattern. A file of that very name is no pattern.
pub(super) fn is_pattern(argument: &Path) -> bool {
    let has_wildcard = argument.to_string_lossy().contains(['*', '?', '[']);
    has_wildcard && argument.symlink_metadata().is_err()
}

/// Checks the form of a pattern.
pub(super) fn parse(argument: &Path) -> Result<String, Failure> {
    let text = argument.to_str().ok_or_else(|| {
        Failure::usage(format!("the pattern {} is not UTF-8", argument.display()))
    })?;
    Pattern::new(text)
        .map_err(|error| Failure::usage(format!("the pattern {text} is wrong: {error}")))?;
    Ok(text.to_owned())
}

/// Finds the files that match. Reads all folders that the patterns lead to.
pub(super) fn find(patterns: &[String]) -> Found {
    let paths = patterns
        .iter()
        .filter_map(|pattern| glob::glob_with(pattern, OPTIONS).ok())
        // A folder that cannot be read has no files to follow.
        .flat_map(|matches| matches.filter_map(Result::ok));
    paths
        .filter_map(|path| {
            let metadata = fs::metadata(&path).ok().filter(|it| it.is_file())?;
            let identity = (metadata.dev(), metadata.ino(), metadata.created().ok());
            Some((path, identity))
        })
        .collect()
}

/// What is to be done after files were found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// The files to follow, in the order of their names.
    pub(super) begin: Vec<PathBuf>,
    /// The files to follow no longer.
    pub(super) end: Vec<PathBuf>,
}

/// The files that are followed because they match.
#[derive(Default)]
pub(super) struct Matches {
    followed: HashMap<PathBuf, FollowedFile>,
    /// Files that were followed by another name before they were renamed to one that matches too.
    renamed: HashMap<PathBuf, Identity>,
}

struct FollowedFile {
    identity: Identity,
    absent_since: Option<Instant>,
}

impl Matches {
    /// Takes note of the files that match now.
    pub(super) fn update(&mut self, found: &Found, now: Instant) -> Changes {
        let mut changes = Changes::default();
        let mut renamed = HashMap::new();
        for (path, identity) in found {
            if self.followed.contains_key(path) {
                continue;
            }
            // The file is read on by its old name, after a rotation from `a.log` to `a.log.1`.
            let was_followed = self
                .followed
                .iter()
                .any(|(old, file)| file.identity == *identity && found.get(old) != Some(identity));
            let was_renamed = self.renamed.values().any(|old| old == identity);
            if was_followed || was_renamed {
                renamed.insert(path.clone(), *identity);
            } else {
                changes.begin.push(path.clone());
            }
        }
        self.renamed = renamed;
        for (path, file) in &mut self.followed {
            match found.get(path) {
                Some(identity) => {
                    *file = FollowedFile {
                        identity: *identity,
                        absent_since: None,
                    };
                }
                None => {
                    let since = *file.absent_since.get_or_insert(now);
                    let is_renamed = self.renamed.values().any(|it| *it == file.identity);
                    if !is_renamed && now.saturating_duration_since(since) >= MAX_ABSENCE {
                        changes.end.push(path.clone());
                    }
                }
            }
        }
        for path in &changes.end {
            self.followed.remove(path);
        }
        changes.begin.sort();
        for path in &changes.begin {
            let file = FollowedFile {
                identity: found[path],
                absent_since: None,
            };
            self.followed.insert(path.clone(), file);
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, u64)]) -> Found {
        let files = files.iter();
        files
            .map(|&(path, inode)| (PathBuf::from(path), (1, inode, None)))
            .collect()
    }

    fn begun(matches: &mut Matches, files: &[(&str, u64)], now: Instant) -> Vec<String> {
        let begin = matches.update(&found(files), now).begin;
        let name = |path: &PathBuf| path.display().to_string();
        begin.iter().map(name).collect()
    }

    #[test]
    fn a_new_file_is_followed_and_a_rotated_one_is_not_followed_twice() {
        let (mut matches, now) = (Matches::default(), Instant::now());
        assert_eq!(begun(&mut matches, &[("b", 2), ("a", 1)], now), ["a", "b"]);
        assert!(begun(&mut matches, &[("b", 2), ("a.1", 1)], now).is_empty());
        assert!(begun(&mut matches, &[("a", 3), ("b", 2), ("a.1", 1)], now).is_empty());
        let twice = [("a", 4), ("b", 2), ("a.1", 3), ("a.2", 1)];
        assert!(begun(&mut matches, &twice, now).is_empty());
        let another = [("a", 4), ("b", 2), ("a.1", 3), ("a.2", 1), ("c", 5)];
        assert_eq!(begun(&mut matches, &another, now), ["c"]);
        // Another name of a file that keeps its own.
        let linked = [("a", 4), ("link", 4)];
        assert_eq!(begun(&mut matches, &linked, now), ["link"]);
    }

    #[test]
    fn a_file_that_is_gone_for_long_is_let_go_and_one_that_was_renamed_is_not() {
        let (mut matches, now) = (Matches::default(), Instant::now());
        matches.update(&found(&[("a", 1), ("b", 2)]), now);
        assert_eq!(
            matches.update(&found(&[("b.1", 2)]), now),
            Changes::default()
        );
        let changes = matches.update(&found(&[("b.1", 2)]), now + MAX_ABSENCE);
        assert_eq!((changes.begin, changes.end), (vec![], vec!["a".into()]));
        let later = now + 2 * MAX_ABSENCE;
        assert_eq!(begun(&mut matches, &[("a", 1), ("b", 2)], later), ["a"]);
    }
}
