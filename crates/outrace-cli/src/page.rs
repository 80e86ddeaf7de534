//! The page of a server: its address, and a browser that shows it.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Stdio;

use tokio::io::AsyncReadExt;
use tokio::process::{ChildStdout, Command};
use tokio::task::JoinHandle;

use crate::console::notice;
use crate::failure::plain;

/// The program that opens an address in the user's browser.
const OPENER: &str = if cfg!(target_os = "macos") {
    "open"
} else {
    "xdg-open"
};

/// Runs the opener behind the end of the shell, so that it and the browser are no descendants of
/// this program, which ends its descendants. Prints the opener's exit code.
const DETACHED: &str = r#"{ "$1" "$2" </dev/null >/dev/null 2>&1; echo $?; } &"#;

/// The address of the page that a server shows its channels on.
#[derive(Debug, Clone)]
pub(crate) struct Page(String);

impl Page {
    /// Creates the address for a server that listens on `address`. One that listens on all
    /// addresses is reached by loopback.
    pub(crate) fn new(is_tls: bool, address: SocketAddr, base: &str) -> Self {
        let host = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let scheme = if is_tls { "https" } else { "http" };
        let address = SocketAddr::new(host, address.port());
        Self(format!("{scheme}://{address}{base}/"))
    }

    /// Opens the page in the user's browser, and reports a failure as one sentence. The task waits
    /// for the browser where the opener does; the browser goes on when it is aborted.
    pub(crate) async fn open(&self) -> Option<JoinHandle<()>> {
        match self.start_opener().await {
            Ok(mut result) => {
                let page = self.clone();
                Some(tokio::spawn(async move {
                    let mut code = String::new();
                    match result.read_to_string(&mut code).await.map(|_| code.trim()) {
                        Ok("0" | "") | Err(_) => {}
                        Ok("127") => page.report(&format!("{OPENER} was not found")),
                        Ok(code) => page.report(&format!("{OPENER} ended with code {code}")),
                    }
                }))
            }
            Err(error) => {
                self.report(&plain(&error));
                None
            }
        }
    }

    /// Returns where the opener's exit code will be read.
    async fn start_opener(&self) -> io::Result<ChildStdout> {
        let mut shell = Command::new("sh")
            .args(["-c", DETACHED, "sh", OPENER, &self.0])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Ctrl-C is not for the browser.
            .process_group(0)
            .spawn()?;
        let result = shell.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        // Ends at once, and before descendants are owned.
        shell.wait().await?;
        Ok(result)
    }

    fn report(&self, reason: &str) {
        notice!("cannot open the page: {reason}; open {self} yourself");
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_a_server_on_all_addresses_is_opened_on_this_machine() {
        let page = |is_tls, address: &str, base| {
            Page::new(is_tls, address.parse().unwrap(), base).to_string()
        };
        assert_eq!(page(false, "0.0.0.0:1", ""), "http://127.0.0.1:1/");
        assert_eq!(page(true, "[::]:1", "/logs"), "https://[::1]:1/logs/");
        assert_eq!(page(false, "10.0.0.1:80", ""), "http://10.0.0.1:80/");
    }
}
