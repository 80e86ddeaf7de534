//! The members of a process group whose leader has ended.

use rustix::process::{Pid, test_kill_process_group};

/// Returns whether the group has a running member. A zombie does not run: without a process that
/// reaps orphans, as in many containers, it stays for good.
///
/// The system does not reuse the group's number while the group has members, zombies included. A
/// reuse between two checks is as unlikely as the system's range of numbers is large.
pub(super) fn has_members(group: Pid) -> bool {
    test_kill_process_group(group).is_ok() && live_members(group).unwrap_or(true)
}

/// Returns whether `/proc` lists a running member, or `None` without a `/proc`. Linear in all
/// processes of the system, so it is called only for groups that still have members.
#[cfg(target_os = "linux")]
fn live_members(group: Pid) -> Option<bool> {
    let mut seen = false;
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let name = process.file_name();
        if !name
            .as_encoded_bytes()
            .first()
            .is_some_and(u8::is_ascii_digit)
        {
            continue;
        }
        // The process may have ended since it was listed.
        let Ok(stat) = std::fs::read(process.path().join("stat")) else {
            continue;
        };
        seen = true;
        if state_and_group(&stat).is_some_and(|(state, of)| {
            of == group.as_raw_nonzero().get() && state != b'Z' && state != b'X'
        }) {
            return Some(true);
        }
    }
    seen.then_some(false)
}

#[cfg(not(target_os = "linux"))]
fn live_members(_: Pid) -> Option<bool> {
    None
}

/// Returns the third and the fifth field of `/proc/PID/stat`. The second field is the program's
/// name in parentheses, which may hold any byte.
#[cfg(target_os = "linux")]
fn state_and_group(stat: &[u8]) -> Option<(u8, i32)> {
    let rest = &stat[memchr::memrchr(b')', stat)? + 1..];
    let mut fields = rest
        .split(|&byte| byte == b' ')
        .filter(|field| !field.is_empty());
    let state = *fields.next()?.first()?;
    let group = std::str::from_utf8(fields.nth(1)?).ok()?.parse().ok()?;
    Some((state, group))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_program_does_not_move_the_fields_behind_it() {
        assert_eq!(state_and_group(b"17 (sh) S 1 42 42 0 -1"), Some((b'S', 42)));
        assert_eq!(
            state_and_group(b"17 (a) Z 9 9) R 1 43 42 0"),
            Some((b'R', 43))
        );
        assert_eq!(state_and_group(b"17 (sh"), None);
        assert_eq!(state_and_group(b"17 (sh) S 1"), None);
    }

    #[test]
    fn ones_own_group_has_a_live_member() {
        assert!(has_members(rustix::process::getpgrp()));
    }
}
