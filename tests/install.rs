//! The wheel: pip installs it, and its commands serve with the virtualenv that they are in. The program under test is
//! packed as it is; `make wheel` builds one for every glibc.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::support::outside::{bare_virtualenv, python, run_tool, tool};
use crate::support::{Server, directory, program, root, virtualenv};

#[test]
fn a_wheel_serves_with_its_virtualenv_and_leaves_nothing_behind() {
    let site = site();
    let before = tree(&site.path().join("venv"));
    install(&site);
    for words in [&["rwsgi"][..], &["python", "-m", "rwsgi"]] {
        let mut server = Server::spawn(installed(&site, words));
        assert_eq!(server.get("/").text(), prefix(&site), "{words:?}");
        server.stop();
    }
    let version = run_tool(tool(site.path().join("venv/bin/rwsgi"), ["--version"]).current_dir(site.path()));
    assert_eq!(version, concat!("rwsgi ", env!("CARGO_PKG_VERSION"), "\n"));
    pip(&site, &["uninstall", "--yes", "rwsgi"]);
    assert_eq!(tree(&site.path().join("venv")), before);
}

#[test]
fn the_virtualenv_is_kept_when_an_upgrade_moves_the_running_program_away() {
    let site = site();
    let bin = site.path().join("venv/bin");
    fs::copy(program(), bin.join("rwsgi")).unwrap();
    bring_engine(&bin);
    let mut server = Server::spawn(installed(&site, &["rwsgi"]));
    assert!(server.log().contains("found_by=\"rwsgi's virtualenv\""), "{}", server.log());
    // As pip does: it moves the files of the old version to a directory of its own.
    let away = directory(&[]);
    fs::rename(bin.join("rwsgi"), away.path().join("rwsgi")).unwrap();
    drop(away);
    server.signal(Signal::SIGHUP);
    server.wait_for_lines("worker ready", 2);
    assert_eq!(server.get("/").text(), prefix(&site));
    server.stop();
}

#[test]
fn dot_venv_beside_the_application_is_found() {
    let files = directory(&[("site/app.py", APP)]);
    bare_virtualenv(files.path(), "site/.venv");
    // In the working directory, and in the directory that `chdir` names.
    for (start, chdir) in [("site", &[][..]), ("", &["--chdir", "site"])] {
        let mut command = tool(program(), ["app", "-b", "127.0.0.1:0"]);
        command.args(chdir).current_dir(files.path().join(start));
        let mut server = Server::spawn(without_variables(command));
        let expected = fs::canonicalize(files.path().join("site/.venv")).unwrap();
        assert_eq!(fs::canonicalize(server.get("/").text()).unwrap(), expected);
        assert!(server.log().contains("found_by=.venv"), "{}", server.log());
        server.stop();
    }
}

/// A directory with an application and an empty virtualenv.
fn site() -> TempDir {
    let site = directory(&[("app.py", APP)]);
    bare_virtualenv(site.path(), "venv");
    site
}

/// Builds a wheel as pip does, and installs it.
fn install(site: &TempDir) {
    let mut build = python(["-m", "pip", "wheel", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir"]);
    build.arg(site.path()).arg(root()).env("RWSGI_PROGRAM_FILE", program());
    run_tool(&mut build);
    let names = fs::read_dir(site.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let wheels: Vec<String> = names.filter(|name| Path::new(name).extension().is_some_and(|it| it == "whl")).collect();
    let expected = concat!("rwsgi-", env!("CARGO_PKG_VERSION"), "-py3-none-manylinux_2_");
    assert!(wheels.len() == 1 && wheels[0].starts_with(expected), "{wheels:?}");
    pip(site, &["install", "--no-index", &wheels[0]]);
    bring_engine(&site.path().join("venv/bin"));
}

/// A program that cargo built alone looks for the engine beside itself or in `../lib/rwsgi`.
fn bring_engine(bin: &Path) {
    let engine = program().with_file_name(ENGINE);
    if engine.exists() {
        symlink(engine, bin.join(ENGINE)).unwrap();
    }
}

fn pip(site: &TempDir, words: &[&str]) {
    let mut command = python(["-m", "pip", "--disable-pip-version-check", "--python", "venv/bin/python"]);
    run_tool(command.args(words).current_dir(site.path()));
}

/// A command of the virtualenv, while another one is active.
fn installed(site: &TempDir, words: &[&str]) -> Command {
    let mut command = tool(site.path().join("venv/bin").join(words[0]), &words[1..]);
    command.args(["app", "-b", "127.0.0.1:0"]).current_dir(site.path());
    let mut command = without_variables(command);
    command.env("VIRTUAL_ENV", virtualenv());
    command
}

fn without_variables(mut command: Command) -> Command {
    for name in ["VIRTUAL_ENV", "RWSGI_TEST_PROGRAM", "RWSGI_TEST_VENV", "RWSGI_BUILD_ID", "RWSGI_ENGINE_FILE"] {
        command.env_remove(name);
    }
    command
}

fn prefix(site: &TempDir) -> String {
    site.path().join("venv").to_str().unwrap().to_owned()
}

/// The files of a directory, without the engine that the test brings.
fn tree(directory: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() && !path.is_symlink() {
            found.extend(tree(&path));
        }
        found.insert(path);
    }
    found.retain(|path| !path.ends_with(ENGINE));
    found
}

const ENGINE: &str = "librwsgi_engine.so";

/// Answers with the virtualenv that it runs in.
const APP: &str = "import sys\n\n\ndef application(environ, start_response):\n    \
                   start_response('200 OK', [])\n    return [sys.prefix.encode()]\n";
