//! What stands in `packaging/`: systemd takes the units, the program takes their words, an image has what it copies.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;

use crate::support::outside::{run_tool, tool};
use crate::support::{
    self, Response, Server, apps, directory, program, root, run_command, rwsgi, status, virtualenv, wait_until,
};
use rwsgi::cli::args::{self, Call};
use rwsgi::settings::{Sources, resolve};

use crate::support::words::shell_words;

fn read(path: &str) -> String {
    fs::read_to_string(root().join("packaging").join(path)).unwrap()
}

#[test]
fn systemd_finds_nothing_wrong_in_the_units() {
    let files = directory(&[]);
    for name in ["rwsgi.service", "rwsgi.socket"] {
        let text = read(&format!("systemd/{name}"));
        // It looks whether the program is there.
        fs::write(files.path().join(name), text.replace(INSTALLED, program().to_str().unwrap())).unwrap();
    }
    let names = ["rwsgi.service", "rwsgi.socket"];
    let mut command = tool("systemd-analyze", ["verify"]);
    let (code, out, log) = run_command({
        command.args(names.map(|name| files.path().join(name)));
        command
    });
    assert_eq!((code, out.as_str(), log.as_str()), (0, "", ""));
}

#[test]
fn the_program_takes_the_words_of_the_unit() {
    let unit = read("systemd/rwsgi.service");
    let lines: Vec<&str> = unit
        .lines()
        .filter_map(|line| line.split_once('=').filter(|(key, _)| key.starts_with("Exec")))
        .map(|(_, line)| line)
        .filter(|line| line.starts_with(INSTALLED))
        .collect();
    assert_eq!(lines.len(), 2, "start and reload");
    for line in lines {
        let words = shell_words(line).into_iter().skip(1).map(OsString::from);
        args::parse(words).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn the_configuration_beside_the_unit_is_sound() {
    let text = read("systemd/rwsgi.toml");
    let resolved = resolve(&Sources { file: Some(("rwsgi.toml", &text)), ..Sources::default() }).unwrap();
    assert!(resolved.settings.app().is_ok());
    // What systemd grants has to be longer than what the server may take.
    let unit = read("systemd/rwsgi.service");
    let granted: u64 = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap().parse().unwrap();
    let wanted = resolved.settings.graceful_timeout.duration() + resolved.settings.shutdown_delay.duration();
    assert!(granted > wanted.as_secs());
}

#[test]
fn installed_units_start_the_installed_program() {
    let files = directory(&[]);
    let destination = format!("DESTDIR={}", files.path().display());
    let program = format!("RWSGI={}", program().display());
    run_tool(tool("make", ["install", &destination, "PREFIX=/opt/rwsgi", &program]).current_dir(root()));
    let there = |path: &str| files.path().join("opt/rwsgi").join(path);
    assert!(there("bin/rwsgi").is_file());
    let unit = fs::read_to_string(there("lib/systemd/system/rwsgi.service")).unwrap();
    assert!(unit.contains("\nExecStart=/opt/rwsgi/bin/rwsgi --config ") && !unit.contains(INSTALLED), "{unit}");
    assert!(there("lib/systemd/system/rwsgi.socket").is_file());
    for path in [
        "man/man1/rwsgi.1",
        "man/man5/rwsgi.toml.5",
        "bash-completion/completions/rwsgi",
        "zsh/site-functions/_rwsgi",
        "fish/vendor_completions.d/rwsgi.fish",
    ] {
        assert!(fs::metadata(there("share").join(path)).unwrap().len() > 1000, "{path}");
    }
    let (code, out, _) = run_command(tool(there("bin/rwsgi"), ["--version"]));
    assert!(code == 0 && out.starts_with("rwsgi "), "{out}");
}

/// The lines of the Dockerfile that begin with a word, without it.

#[test]
fn the_guides_line_for_trying_socket_activation_by_hand_works_as_typed() {
    let guide = fs::read_to_string(root().join("docs/guides/systemd.md")).unwrap();
    let line = guide.lines().find(|line| line.starts_with("systemd-socket-activate --listen 8000 ")).unwrap();
    let app = "def application(environ, start):\n    start('200 OK', [])\n    return [b'activated']\n";
    let files = directory(&[("mysite/wsgi.py", app), ("bin/none", "")]);
    symlink(virtualenv(), files.path().join(".venv")).unwrap();
    symlink(program(), files.path().join("bin/rwsgi")).unwrap();
    let socket = files.path().join("socket");
    let typed =
        line.replace("--listen 8000", &format!("--listen {}", socket.display())).replace("--idle 5", "--idle 1");
    let path = format!("{}:{}", files.path().join("bin").display(), std::env::var("PATH").unwrap());
    let mut command = tool("sh", ["-c", &format!("exec {typed}")]);
    // Whoever types it may have activated the virtualenv: that does not cross.
    command.current_dir(files.path()).env("PATH", path).env("VIRTUAL_ENV", "/nowhere");
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    wait_until("it listens", || UnixStream::connect(&socket).is_ok());
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!(Response::read(&mut stream).unwrap().text(), "activated");
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(child.wait().unwrap().success() && log.contains("no request has come, stopping idle=1"), "{log}");
    // It started one, and no more.
    assert!(UnixStream::connect(&socket).is_err());
}

fn instructions(text: &str, word: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' ')).map(str::to_owned).collect()
}

#[test]
fn the_image_is_made_of_what_there_is() {
    let text = read("docker/Dockerfile");
    assert_eq!(instructions(&text, "FROM").len(), 2, "one stage builds, the other serves");
    // What the first stage copies is all that is not ignored; the program is built from that.
    let ignored = read("docker/Dockerfile.dockerignore");
    let kept: Vec<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    for name in &kept {
        assert!(root().join(name).exists(), "{name}");
    }
    let files = directory(&[]);
    for name in kept {
        run_tool(tool("cp", ["-r"]).arg(root().join(name)).arg(files.path()));
    }
    // Cargo finds a whole workspace there, with the targets that `make build` asks for.
    let words = ["metadata", "--no-deps", "--offline", "--format-version", "1"];
    let found = run_tool(tool("cargo", words).current_dir(files.path()));
    assert!(found.contains("\"rwsgi\"") && found.contains("\"rwsgi-engine\""), "{found}");
    run_tool(tool("make", ["--dry-run", "build"]).current_dir(files.path()));
}

#[test]
fn the_image_serves_as_process_1_of_a_user_who_is_not_root() {
    let text = read("docker/Dockerfile");
    let user = instructions(&text, "USER").pop().unwrap();
    let (user, group) = user.split_once(':').unwrap();
    assert!(user.parse::<u32>().unwrap() > 0, "a number, and not root's");
    let last = instructions(&text, "CMD").pop().unwrap();
    let words: Vec<&str> = last.split('"').skip(1).step_by(2).collect();
    assert_eq!(words, ["rwsgi", "app"]);
    let Ok(Call::Start(_)) = args::parse(words.iter().skip(1).map(OsString::from)) else { panic!("{words:?}") };

    let app = fs::read_to_string(apps().join("hello.py")).unwrap();
    let files = directory(&[("app.py", &app)]);
    let inner = rwsgi(files.path(), &words[1..]);
    let mut command = tool("unshare", ["--pid", "--fork", "--mount-proc", "--kill-child", "setpriv", "--clear-groups"]);
    command.args([format!("--reuid={user}"), format!("--regid={group}")]);
    command.arg(inner.get_program()).args(inner.get_args()).current_dir(files.path());
    command.env("VIRTUAL_ENV", support::virtualenv());
    for pair in instructions(&text, "ENV").iter().flat_map(|line| line.split(' ')) {
        let (name, value) = pair.split_once('=').unwrap();
        // Any free port, beside other tests.
        command.env(name, if name == "PORT" { "0" } else { value });
    }
    let mut server = Server::spawn(command);
    let master = support::children(server.pid())[0].0;
    assert!(status(master, "NSpid").ends_with(" 1"), "{}", status(master, "NSpid"));
    assert!(status(master, "Uid").starts_with(user), "{}", status(master, "Uid"));
    assert!(server.log().contains("Listening at: http://0.0.0.0:"), "{}", server.log());
    assert_eq!(server.get("/").text(), "Hello, World!");
    nix::sys::signal::kill(master, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(server.wait(), 0, "{}", server.log());
}

#[test]
fn packaging_names_no_file_that_is_not_there() {
    for name in ["systemd/rwsgi.service", "systemd/rwsgi.socket", "systemd/rwsgi.toml", "docker/Dockerfile"] {
        let text = read(name);
        for word in text.split_whitespace().filter(|word| word.starts_with("packaging/")) {
            assert!(Path::new(root()).join(word).exists(), "{name}: {word}");
        }
    }
}

/// Where the units of the tree expect the program: Makefile's own PREFIX.
const INSTALLED: &str = "/usr/local/bin/rwsgi";
