//! A program in a terminal of its own.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::process::{Child, Command};

use crate::eventually;

/// A program whose standard streams and controlling terminal are a pseudo-terminal.
#[derive(Debug)]
pub struct Terminal {
    /// The program.
    pub child: Child,
    controller: File,
    shown: Arc<Mutex<Vec<u8>>>,
    reading: JoinHandle<()>,
}

impl Terminal {
    /// Starts a program, given with its arguments, in a terminal of this size.
    pub fn start(columns: u16, rows: u16, program: &[&str]) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        rustix::io::fcntl_setfd(&controller, rustix::io::FdFlags::CLOEXEC).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let flags =
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
        let user = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).unwrap();
        set_size(&user, columns, rows);
        let stdio = || Stdio::from(user.try_clone().unwrap());
        // `setsid` becomes the program, so the child's pid and exit status are the program's.
        let child = Command::new("setsid")
            .arg("--ctty")
            .args(program)
            .stdin(stdio())
            .stdout(stdio())
            .stderr(stdio())
            .kill_on_drop(true)
            .spawn()
            .expect("setsid(1) is installed");
        let shown = Arc::new(Mutex::new(Vec::new()));
        let controller = File::from(controller);
        let reading = std::thread::spawn({
            let (mut controller, shown) = (controller.try_clone().unwrap(), Arc::clone(&shown));
            move || {
                let mut bytes = [0; 4096];
                // Ends with an error when no process has the terminal open any more.
                while let Ok(n @ 1..) = controller.read(&mut bytes) {
                    shown.lock().unwrap().extend_from_slice(&bytes[..n]);
                }
            }
        });
        Self {
            child,
            controller,
            shown,
            reading,
        }
    }

    /// Types a text.
    pub fn type_text(&mut self, text: &str) {
        self.controller.write_all(text.as_bytes()).unwrap();
    }

    /// Changes the size of the window.
    pub fn resize(&self, columns: u16, rows: u16) {
        set_size(&self.controller, columns, rows);
    }

    /// Returns everything that was shown, with its control characters.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// Waits until `text` was shown.
    pub async fn until_shown(&self, text: &str) {
        eventually(|| self.shown().contains(text)).await;
    }

    /// Waits until `text` was shown after everything that is shown now.
    pub async fn until_shown_anew(&self, text: &str) {
        let before = self.shown.lock().unwrap().len();
        eventually(|| {
            let shown = self.shown.lock().unwrap();
            String::from_utf8_lossy(&shown[before..]).contains(text)
        })
        .await;
    }

    /// Returns whether the terminal shows what is typed.
    pub fn echoes(&self) -> bool {
        let modes = rustix::termios::tcgetattr(&self.controller).unwrap();
        modes
            .local_modes
            .contains(rustix::termios::LocalModes::ECHO)
    }

    /// Waits until the program has ended and everything it wrote is shown.
    pub async fn ended(&mut self) -> ExitStatus {
        let status = self.child.wait().await.unwrap();
        eventually(|| self.reading.is_finished()).await;
        status
    }
}

fn set_size(terminal: impl std::os::fd::AsFd, columns: u16, rows: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).unwrap();
}
