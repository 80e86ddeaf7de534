//! The limit of open files, as the errors of the system name it.

use std::io;

/// Returns whether the process or the whole system has no descriptor left (`EMFILE`, `ENFILE`).
pub(crate) fn is_reached(error: &io::Error) -> bool {
    use rustix::io::Errno;
    #[cfg(unix)]
    const ERRNOS: &[Errno] = &[Errno::MFILE, Errno::NFILE];
    // Windows has no such limit for the whole system.
    #[cfg(not(unix))]
    const ERRNOS: &[Errno] = &[Errno::MFILE];
    is_one_of(error, ERRNOS)
}

/// Returns whether there is no memory left for a socket.
#[cfg(feature = "server")]
pub(crate) fn is_memory_reached(error: &io::Error) -> bool {
    use rustix::io::Errno;
    #[cfg(unix)]
    const ERRNOS: &[Errno] = &[Errno::NOBUFS, Errno::NOMEM];
    #[cfg(not(unix))]
    const ERRNOS: &[Errno] = &[Errno::NOBUFS];
    is_one_of(error, ERRNOS)
}

fn is_one_of(error: &io::Error, errnos: &[rustix::io::Errno]) -> bool {
    errnos
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(all(test, unix))]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn the_limits_of_the_process_and_of_the_system_are_told_from_other_errors() {
        for errno in [Errno::MFILE, Errno::NFILE] {
            assert!(is_reached(&errno.into()));
        }
        for errno in [Errno::NOENT, Errno::ACCESS, Errno::NOMEM, Errno::AGAIN] {
            assert!(!is_reached(&errno.into()));
        }
        assert!(!is_reached(&io::ErrorKind::NotFound.into()));
    }
}
