//! `outrace run -f`: a Procfile with its `.env` and its ports, as foreman's users know them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use outrace_testkit::{Scratch, bounded};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::program::{PATH, outrace};

/// Runs `outrace run` with these arguments in a folder, with `input` on its standard input.
/// Returns its exit code and its outputs.
async fn run_in(folder: &Path, arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let all = [&["run", "--listen", "127.0.0.1:0", "--quiet"], arguments].concat();
    finish(outrace(&all).current_dir(folder), input).await
}

/// As [`run_in`], with a line for bash in place of the arguments of `run`.
async fn run_by_bash(folder: &Path, line: &str) -> (Option<i32>, String, String) {
    let line = line.replace(
        "outrace run",
        &format!("{PATH} run --quiet --listen 127.0.0.1:0"),
    );
    let mut bash = Command::new("bash");
    finish(bash.args(["-c", &line]).current_dir(folder), "").await
}

async fn finish(command: &mut Command, input: &str) -> (Option<i32>, String, String) {
    let mut child = command
        .env_remove("PORT")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// Returns the lines of a text in an order that does not depend on which process was first.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

fn executable(scratch: &Scratch, name: &str, text: &str) -> String {
    let path = scratch.file(name, text);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test]
async fn each_process_type_has_a_port_a_hundred_above_the_one_before() {
    bounded(async {
        let scratch = Scratch::new();
        scratch.file("Procfile", "web: echo $PORT $PS\nworker: echo $PORT $PS\n");
        let ports = |base: u32| {
            [
                format!("web    | {base} web.1"),
                format!("worker | {} worker.1", base + 100),
            ]
        };
        let file = ["-f", "Procfile"];
        let (_, stdout, _) = run_in(scratch.folder(), &file, "").await;
        assert_eq!(sorted(&stdout), ports(5000));
        let (_, stdout, _) = run_in(scratch.folder(), &["-f", "Procfile", "-p", "7000"], "").await;
        assert_eq!(sorted(&stdout), ports(7000));
        // A PORT in .env is the base, and -p wins over it.
        scratch.file(".env", "PORT=3000\n");
        let (_, stdout, _) = run_in(scratch.folder(), &file, "").await;
        assert_eq!(sorted(&stdout), ports(3000));
        let (_, stdout, _) = run_in(scratch.folder(), &["-f", "Procfile", "-p", "7000"], "").await;
        assert_eq!(sorted(&stdout), ports(7000));
        // One of the environment is the base as well, where no file has one.
        fs::remove_file(scratch.path(".env")).unwrap();
        let (_, stdout, _) =
            run_by_bash(scratch.folder(), "PORT=4000 outrace run -f Procfile").await;
        assert_eq!(sorted(&stdout), ports(4000));
        // Named processes have one only if it is asked for.
        let (_, stdout, _) = run_in(scratch.folder(), &["a=echo ${PORT-none}"], "").await;
        assert_eq!(stdout, "a | none\n");
        let (_, stdout, _) = run_in(scratch.folder(), &["-p", "80", "a=echo $PORT"], "").await;
        assert_eq!(stdout, "a | 80\n");

        scratch.file(".env", "PORT=http\n");
        let (code, _, said) = run_in(scratch.folder(), &file, "").await;
        assert!(
            code == Some(2) && said.contains(r#"PORT is "http""#),
            "{said}"
        );
    })
    .await;
}

#[tokio::test]
async fn the_env_file_beside_a_procfile_is_read_and_others_by_name() {
    bounded(async {
        let scratch = Scratch::new();
        scratch.file("Procfile", "web: echo $A $B $C\n");
        scratch.file(".env", "# ours\nA='a b'\r\nB=\"b\\nc\"\nexport C=c\n");
        scratch.file("other", "A=other\n");
        scratch.file("more", "B=more\n");
        let of = |arguments: &'static [&'static str]| {
            let folder = scratch.folder().to_owned();
            async move {
                let all = [&["-f", "Procfile"], arguments].concat();
                run_in(&folder, &all, "").await.1
            }
        };
        assert_eq!(of(&[]).await, "web | a b b c c\n");
        assert_eq!(of(&["--no-env"]).await, "web | \n");
        assert_eq!(of(&["-e", "other"]).await, "web | other\n");
        assert_eq!(
            of(&["-e", "other", "-e", "more"]).await,
            "web | other more\n"
        );
        assert_eq!(of(&["-e", "other,.env"]).await, "web | a b b c c\n");
        // It is the one beside the Procfile, not that of the current folder.
        let elsewhere = Scratch::new();
        elsewhere.file(".env", "A=wrong\n");
        let procfile = scratch.path("Procfile");
        let (_, stdout, _) = run_in(elsewhere.folder(), &["-f", &procfile], "").await;
        assert_eq!(stdout, "web | a b b c c\n");
        // A single command takes a file by name too.
        let named = ["-e", &scratch.path("other"), "--", "sh", "-c", "echo $A"];
        assert_eq!(run_in(elsewhere.folder(), &named, "").await.1, "other\n");

        let (code, _, said) = run_in(scratch.folder(), &["-f", "Procfile", "-e", "none"], "").await;
        assert_eq!(code, Some(2));
        assert_eq!(
            said,
            "outrace: cannot read none: no such file or directory\n"
        );
        scratch.file(".env", "A=1\nno variable\n");
        let arguments = ["run", "--listen", "127.0.0.1:0", "-f", "Procfile"];
        let (code, _, said) = finish(outrace(&arguments).current_dir(scratch.folder()), "").await;
        assert!(
            code == Some(0) && said.contains(".env:2: left out"),
            "{said}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_procfile_is_read_in_any_encoding_that_an_editor_leaves() {
    bounded(async {
        let text = "web: echo é $A\nworker: true\n";
        let marked = format!("\u{feff}{text}");
        let utf16 = |unit: fn(u16) -> [u8; 2]| marked.encode_utf16().flat_map(unit).collect();
        let files: [Vec<u8>; 4] = [
            marked.clone().into_bytes(),
            utf16(u16::to_le_bytes),
            utf16(u16::to_be_bytes),
            text.replace('\n', "\r\n").into_bytes(),
        ];
        for bytes in files {
            let scratch = Scratch::new();
            scratch.file("Procfile", bytes);
            scratch.file(".env", "\u{feff}A=a\r\n");
            let (code, stdout, said) = run_in(scratch.folder(), &["-f", "Procfile"], "").await;
            assert_eq!(
                (code, stdout.as_str()),
                (Some(0), "web    | é a\n"),
                "{said}"
            );
        }
        let scratch = Scratch::new();
        scratch.file("Procfile", b"web: echo \0\n");
        let (code, _, said) = run_in(scratch.folder(), &["-f", "Procfile"], "").await;
        assert!(code == Some(2) && said.contains("NUL"), "{said}");
    })
    .await;
}

#[tokio::test]
async fn a_procfile_comes_from_any_source_and_runs_where_a_person_expects() {
    bounded(async {
        let scratch = Scratch::new();
        let inner = scratch.path("inner");
        fs::create_dir(&inner).unwrap();
        scratch.file(".env", "A=outer\n");
        fs::write(format!("{inner}/.env"), "A=inner\n").unwrap();
        let text = "web: echo ${PWD##*/} $A\n";
        fs::write(format!("{inner}/Procfile"), text).unwrap();
        let here = scratch.folder().file_name().unwrap().to_str().unwrap();
        let outer = format!("web | {here} outer\n");

        let (_, stdout, _) = run_in(scratch.folder(), &["-f", "inner/Procfile"], "").await;
        assert_eq!(stdout, "web | inner inner\n");
        let (_, stdout, _) = run_in(scratch.folder(), &["-f", "-"], text).await;
        assert_eq!(stdout, outer);
        for line in [
            "outrace run -f <(cat inner/Procfile)",
            "outrace run -f /dev/stdin < inner/Procfile",
            "cat inner/Procfile | outrace run -f /dev/stdin",
            "mkfifo inner/fifo; cat inner/Procfile > inner/fifo & outrace run -f inner/fifo",
        ] {
            let (code, stdout, said) = run_by_bash(scratch.folder(), line).await;
            assert_eq!(
                (code, stdout.as_str()),
                (Some(0), outer.as_str()),
                "{line}: {said}"
            );
        }
        for (source, part) in [
            ("none", "cannot read none: no such file or directory"),
            ("inner", "cannot read inner: is a directory"),
            ("/dev/zero", "larger than 1024 KiB"),
            ("/dev/null", "has no line of the form NAME: COMMAND"),
        ] {
            let (code, _, said) = run_in(scratch.folder(), &["-f", source], "").await;
            assert!(code == Some(2) && said.contains(part), "{source}: {said}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_script_without_an_interpreter_line_runs_as_a_shell_runs_it() {
    bounded(async {
        let scratch = Scratch::new();
        let path = executable(&scratch, "w.sh", "echo \"${0##*/} $1 $A\"\n");
        scratch.file("Procfile", "web: ./w.sh b\n");
        for arguments in [
            &["--", "./w.sh", "b"][..],
            &["--", &path, "b"],
            &["--restart", "on-failure", "--", "./w.sh", "b"],
        ] {
            let (code, stdout, said) = run_in(scratch.folder(), arguments, "").await;
            assert_eq!((code, stdout.as_str()), (Some(0), "w.sh b \n"), "{said}");
        }
        let (_, stdout, _) = run_in(scratch.folder(), &["-f", "Procfile"], "").await;
        assert_eq!(stdout, "web | w.sh b \n");
        // An empty one does nothing.
        executable(&scratch, "empty", "");
        let (code, ..) = run_in(scratch.folder(), &["--", "./empty"], "").await;
        assert_eq!(code, Some(0));
        // Found by its name, with the variables and the standard input of any other command.
        executable(&scratch, "r.sh", "read line; echo \"$line $A\"\n");
        scratch.file("vars", "A=a\n");
        let line = "echo said | PATH=.:$PATH outrace run -e vars -- r.sh";
        let (code, stdout, said) = run_by_bash(scratch.folder(), line).await;
        assert_eq!((code, stdout.as_str()), (Some(0), "said a\n"), "{said}");
    })
    .await;
}

#[tokio::test]
async fn a_broken_interpreter_line_is_named_as_such() {
    bounded(async {
        let scratch = Scratch::new();
        executable(&scratch, "missing", "#!/no/such/python\n");
        executable(&scratch, "windows", "#!/bin/sh\r\necho hi\r\n");
        executable(&scratch, "unfit", "#!/etc/passwd\n");
        executable(&scratch, "env", "#!/usr/bin/env sh\r\necho hi\r\n");
        for (name, part, code) in [
            ("missing", "names an interpreter that is not there", 127),
            (
                "windows",
                r##""#!/bin/sh", ends with a carriage return"##,
                127,
            ),
            ("unfit", "names an interpreter that cannot be run", 126),
            (
                "env",
                r##""#!/usr/bin/env sh", ends with a carriage return"##,
                127,
            ),
        ] {
            let path = format!("./{name}");
            let shell = format!("web={path} now");
            let single = ["--", &path];
            let supervised = ["--restart", "never", "--stop-on-exit", "--", &path];
            for arguments in [&single[..], &supervised, &[&shell]] {
                let (ended, _, said) = run_in(scratch.folder(), arguments, "").await;
                assert_eq!(ended, Some(code), "{arguments:?}: {said}");
                assert!(said.contains(part), "{arguments:?}: {said}");
                assert!(!said.contains("outrace: ./missing: not found"), "{said}");
            }
        }
        let (code, _, said) = run_in(scratch.folder(), &["--", "./none"], "").await;
        assert!(
            code == Some(127) && said.contains("./none: not found"),
            "{said}"
        );
    })
    .await;
}

#[tokio::test]
async fn with_stop_on_exit_all_end_when_one_has_ended_with_its_code() {
    bounded(async {
        let scratch = Scratch::new();
        let forever = "trap 'exit 9' TERM; while :; do sleep 0.05; done";
        let procfile = |tests: &str| format!("db: {forever}\ntests: {tests}\n");
        for (tests, code) in [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137)] {
            scratch.file("Procfile", procfile(tests));
            let arguments = ["-f", "Procfile", "--stop-on-exit"];
            let (ended, _, said) = run_in(scratch.folder(), &arguments, "").await;
            assert_eq!(ended, Some(code), "{tests}: {said}");
        }
        // The same for named processes, and for one that cannot even start.
        let db = format!("db={forever}");
        let (code, ..) = run_in(
            scratch.folder(),
            &["--stop-on-exit", &db, "tests=exit 4"],
            "",
        )
        .await;
        assert_eq!(code, Some(4));
        // A process that is started again has not ended.
        let counted = "tests=echo x >> count; [ $(wc -l < count) -ge 3 ]";
        let arguments = [
            "--stop-on-exit",
            "--restart",
            "on-failure",
            "--restart-delay",
            "10ms",
            &db,
            counted,
        ];
        let (code, _, said) = run_in(scratch.folder(), &arguments, "").await;
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(
            fs::read_to_string(scratch.path("count")).unwrap(),
            "x\nx\nx\n"
        );
    })
    .await;
}

/// Returns the screen of a run in a terminal, with these variables set.
async fn screen(variables: &str) -> String {
    let line = format!("{variables} {PATH} run --quiet --listen 127.0.0.1:0 'web=echo hi'");
    let mut script = Command::new("script");
    let unset = ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR"];
    unset.iter().for_each(|name| {
        script.env_remove(name);
    });
    let (_, stdout, _) = finish(script.args(["-qec", &line, "/dev/null"]), "").await;
    stdout
}

#[tokio::test]
async fn colors_are_shown_only_where_the_terminal_can_and_nobody_objects() {
    const COLORED: &str = "\x1b[0;36mweb |\x1b[0m hi";
    bounded(async {
        for (variables, colored) in [
            ("TERM=xterm", true),
            ("TERM=xterm NO_COLOR=", true),
            ("TERM=xterm NO_COLOR=1", false),
            ("TERM=xterm NO_COLOR=1 FORCE_COLOR=1", false),
            ("TERM=xterm CLICOLOR=0", false),
            ("TERM=xterm FORCE_COLOR=0", false),
            ("TERM=dumb", false),
            ("TERM=", false),
            ("TERM=dumb FORCE_COLOR=1", true),
        ] {
            let screen = screen(variables).await;
            assert_eq!(screen.contains(COLORED), colored, "{variables}: {screen:?}");
            assert_eq!(screen.contains('\x1b'), colored, "{variables}: {screen:?}");
        }
        let scratch = Scratch::new();
        for (variables, colored) in [
            ("TERM=xterm", false),
            ("TERM=xterm CLICOLOR=1", false),
            ("FORCE_COLOR=1", true),
            ("CLICOLOR_FORCE=1", true),
            ("CLICOLOR_FORCE=0", false),
            ("CLICOLOR_FORCE=1 NO_COLOR=1", false),
        ] {
            let line = format!("{variables} outrace run 'web=echo hi'");
            let (_, stdout, _) = run_by_bash(scratch.folder(), &line).await;
            assert_eq!(stdout.contains(COLORED), colored, "{variables}: {stdout:?}");
        }
    })
    .await;
}
