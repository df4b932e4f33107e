//! Fake interpreters (scripts that print an answer) test refusals and their messages; the interpreters of this machine
//! test that a real one is found.

use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::probe::{self, ProbeFailure};
use super::*;

/// A directory that is removed after the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("rwsgi-interpreter-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).unwrap();
        Self(directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a script by another process: a file that this one has open for writing while another test forks cannot be
    /// executed (ETXTBSY).
    fn script(&self, name: &str, body: &str) -> PathBuf {
        let file = self.path(name);
        let mut install = Command::new("install")
            .args(["-D", "-m", "755", "/dev/stdin"])
            .arg(&file)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        write!(install.stdin.take().unwrap(), "#!/bin/sh\n{body}\n").unwrap();
        assert!(install.wait().unwrap().success());
        file
    }

    /// Writes a script that answers like an interpreter; `changes` are its differences from a good 3.13.
    fn python(&self, name: &str, changes: &[(&str, &str)]) -> PathBuf {
        let mut answer = vec![
            ("implementation", "cpython"),
            ("version", "3.13.5"),
            ("release", "3.13.5"),
            ("executable", ""),
            ("prefix", "/usr"),
            ("abi", "cpython-313"),
            ("gil_disabled", "0"),
            ("library", "libpython3.13.so.1.0"),
            ("library_mapped", ""),
            ("library_directory", "/nowhere"),
            ("base_prefix", "/nowhere"),
        ];
        for (key, value) in &mut answer {
            if let Some((_, changed)) = changes.iter().find(|(name, _)| name == key) {
                *value = changed;
            }
        }
        let pairs: Vec<_> = answer.iter().map(|(key, value)| format!("{key}={value}\\0")).collect();
        self.script(name, &format!("printf '\\0{}'", pairs.concat()))
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.path(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        file
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn by_setting(setting: &Path) -> Result<Interpreter, InterpreterError> {
    find(&PythonChoice { setting: setting.to_str(), ..PythonChoice::default() })
}

/// Returns the whole error, with the test's directory as `@`.
fn words(scratch: &Scratch, found: Result<Interpreter, InterpreterError>) -> String {
    let error = found.unwrap_err();
    let hint = error.hint().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
    format!("{error}{hint}").replace(scratch.0.to_str().unwrap(), "@")
}

#[test]
fn what_cannot_serve_is_refused_with_its_reason() {
    let check = |changes: &[(&str, &str)], expected: &str| {
        let scratch = Scratch::new();
        let python = scratch.python("python", changes);
        assert_eq!(words(&scratch, by_setting(&python)), expected);
    };
    check(
        &[("implementation", "pypy"), ("version", "3.11.13"), ("release", "3.11.13")],
        "python: @/python: expected CPython, found pypy 3.11.13\n\
         hint: set --python to CPython 3.11 or newer, or to a virtualenv made with it",
    );
    check(
        &[("version", "3.10.13"), ("release", "3.10.13")],
        "python: @/python: expected CPython 3.11 or newer, found 3.10.13\n\
         hint: set --python to CPython 3.11 or newer, or to a virtualenv made with it",
    );
    check(
        &[("gil_disabled", "1"), ("version", "3.14.0"), ("release", "3.14.0rc2")],
        "python: @/python: expected a CPython with the GIL, found the free-threaded build of 3.14.0rc2\n\
         hint: set --python to the ordinary build, whose command does not end in t",
    );
}

#[test]
fn a_python_for_another_platform_is_refused() {
    if PLATFORM.is_empty() {
        return;
    }
    for platform in ["i386-linux-gnu", "sparc64-linux-gnu", "sparc64-linux-musl"] {
        let scratch = Scratch::new();
        let python = scratch.python("python", &[("abi", &format!("cpython-313-{platform}"))]);
        let expected = format!(
            "python: @/python: expected a CPython for {PLATFORM}, found one for {platform}\n\
             hint: install a Python for this machine"
        );
        assert_eq!(words(&scratch, by_setting(&python)), expected);
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn what_was_named_and_is_not_there_is_said() {
    let scratch = Scratch::new();
    let check = |choice: PythonChoice<'_>, expected: &str| {
        assert_eq!(words(&scratch, find(&choice)), expected);
    };
    let (nothing, empty) = (scratch.path("nothing"), scratch.path("empty"));
    std::fs::create_dir(&empty).unwrap();
    let plain = scratch.write("plain", "");
    let garbage = scratch.script("garbage", "");
    std::fs::write(&garbage, "no program").unwrap();
    let link = scratch.path("link");
    std::os::unix::fs::symlink("gone", &link).unwrap();
    let choice = |path: &'static str| PythonChoice { path: Some(OsStr::new(path)), ..PythonChoice::default() };
    check(
        choice("/nowhere:/nothing"),
        "PATH: expected python3 in one of /nowhere:/nothing, found none\n\
         hint: install python3, or set --python to an interpreter or a virtualenv",
    );
    check(
        PythonChoice { setting: Some("python3.77"), ..choice("/nowhere") },
        "python: expected python3.77 on PATH, found none\n\
         hint: give the path of an executable or of a virtualenv",
    );
    check(
        PythonChoice { virtual_env: nothing.to_str(), ..PythonChoice::default() },
        "VIRTUAL_ENV: @/nothing: expected a virtualenv or an interpreter, found nothing there\n\
         hint: activate a virtualenv that exists, or unset VIRTUAL_ENV",
    );
    for (file, expected) in [
        (
            &nothing,
            "python: @/nothing: expected a virtualenv or an interpreter, found nothing there\n\
             hint: python3 -m venv @/nothing",
        ),
        (
            &link,
            "python: @/link: expected a virtualenv or an interpreter, found nothing there\n\
             hint: python3 -m venv @/link",
        ),
        (
            &empty,
            "python: @/empty: expected a virtualenv, found no bin/python in it\n\
             hint: python3 -m venv @/empty",
        ),
        (
            &plain,
            "python: @/plain: expected an executable, found a file that is not executable\n\
             hint: chmod +x @/plain",
        ),
        (
            &garbage,
            "python: @/garbage: expected an interpreter, found a file that does not run: \
             Exec format error (os error 8)\n\
             hint: try @/garbage -c 'import sysconfig'",
        ),
    ] {
        check(PythonChoice { setting: file.to_str(), ..PythonChoice::default() }, expected);
    }
}

#[test]
fn a_bare_name_is_a_path_if_it_looks_like_one() {
    let scratch = Scratch::new();
    let here = std::env::current_dir().unwrap();
    let absent = |name: &str| {
        format!(
            "python: {name}: expected a virtualenv or an interpreter, found nothing at {}\n",
            here.join(name).display()
        )
    };
    // Not looked up: there is a program `env` on every PATH.
    let path = std::env::var_os("PATH");
    let check = |setting: &str, expected: String| {
        let choice = PythonChoice { setting: Some(setting), path: path.as_deref(), ..PythonChoice::default() };
        assert_eq!(words(&scratch, find(&choice)), expected);
    };
    for name in [".no-venv", "env", "no-venv", "venv311", "no/such/directory", "no.virtualenv"] {
        check(name, absent(name) + &format!("hint: python3 -m venv {name}"));
    }
    for name in [".no-venv/bin/python", "no/such/python3.13"] {
        check(name, absent(name) + "hint: give the path of an executable or of a virtualenv");
    }
}

#[test]
fn a_virtualenv_whose_base_is_gone_is_named() {
    let scratch = Scratch::new();
    scratch.write("linked/pyvenv.cfg", "home = /opt/gone/bin\nversion = 3.12.1\n");
    std::fs::create_dir(scratch.path("linked/bin")).unwrap();
    std::os::unix::fs::symlink("python3", scratch.path("linked/bin/python")).unwrap();
    std::os::unix::fs::symlink("/opt/gone/bin/python3", scratch.path("linked/bin/python3")).unwrap();
    assert_eq!(
        words(&scratch, by_setting(&scratch.path("linked"))),
        "python: @/linked/bin/python: expected the Python that the virtualenv was made from, \
         found nothing at /opt/gone/bin/python3\n\
         hint: create @/linked again and reinstall its packages"
    );
    scratch.write("copied/pyvenv.cfg", "home = /opt/gone/bin\n");
    scratch.script("copied/bin/python", "echo Fatal Python error: init_fs_encoding >&2; exit 1");
    assert_eq!(
        words(&scratch, by_setting(&scratch.path("copied"))),
        "python: @/copied/bin/python: expected the Python that the virtualenv was made from, \
         found nothing at /opt/gone/bin\n\
         hint: create @/copied again and reinstall its packages"
    );
}

#[test]
fn a_virtualenv_whose_base_was_upgraded_is_named() {
    let scratch = Scratch::new();
    scratch.write("venv/pyvenv.cfg", "home = /usr/bin\nversion = 3.11.2\n");
    std::fs::create_dir_all(scratch.path("venv/lib/python3.11/site-packages")).unwrap();
    scratch.python("venv/bin/python", &[]);
    assert_eq!(
        words(&scratch, by_setting(&scratch.path("venv"))),
        "python: @/venv/bin/python: expected the packages of Python 3.13.5 in @/venv, \
         found a virtualenv made by 3.11.2\n\
         hint: create @/venv again and reinstall its packages"
    );
}

#[test]
fn a_program_that_is_no_interpreter_is_quoted() {
    let check = |body: &str, expected: &str| {
        let scratch = Scratch::new();
        let python = scratch.script("python", body);
        assert_eq!(words(&scratch, by_setting(&python)), format!("python: @/python: expected {expected}"));
    };
    let hint = "\nhint: try @/python -c 'import sysconfig'";
    check("exit 3", &format!("an interpreter, found a program that does not answer: exit status: 3{hint}"));
    check(
        "kill -SEGV $$",
        &format!("an interpreter, found a program that does not answer: signal: 11 (SIGSEGV){hint}"),
    );
    check(
        "echo pyenv: python3: command not found >&2; exit 127",
        &format!("an interpreter, found one that fails: exit status: 127: pyenv: python3: command not found{hint}"),
    );
    check(
        "printf 'Fatal Python error: init_import_site: Failed\\nmore\\n\\n' >&2; exit 1",
        &format!(
            "an interpreter, found one that fails: exit status: 1: \
             Fatal Python error: init_import_site: Failed{hint}"
        ),
    );
    check(
        "printf '\\npyenv: python3.13: command not found\\n\\nNote: see pyenv help global\\n      for tips\\n' >&2; exit 127",
        &format!("an interpreter, found one that fails: exit status: 127: pyenv: python3.13: command not found{hint}"),
    );
    check(
        "printf 'Traceback (most recent call last):\\n  File \"<stdin>\"\\nImportError: no sysconfig\\n' >&2; exit 1",
        &format!("an interpreter, found one that fails: exit status: 1: ImportError: no sysconfig{hint}"),
    );
    check(
        "head -c 4000 /dev/zero | tr '\\0' x >&2; exit 1",
        &format!("an interpreter, found one that fails: exit status: 1: {}{hint}", "x".repeat(300)),
    );
    check(
        "head -c 5000000 /dev/zero",
        &format!("an interpreter, found one that fails: unreadable output: more than 4194304 bytes of output{hint}"),
    );
    check(
        "echo 'Unknown option: -I' >&2; echo 'usage: python' >&2; exit 2",
        "CPython 3.11 or newer, found one older than 3.4\n\
         hint: set --python to CPython 3.11 or newer, or to a virtualenv made with it",
    );
}

#[test]
fn the_probe_is_never_quoted() {
    for program in ["/bin/ls", "/bin/cat", "/bin/sh", "/bin/true", "/usr/bin/env"] {
        let error = by_setting(Path::new(program)).unwrap_err().to_string();
        let expected = format!("python: {program}: expected an interpreter, found ");
        assert!(error.starts_with(&expected), "{error}");
        assert!(error.lines().count() == 1 && !error.contains("sysconfig"), "{error}");
    }
}

#[test]
fn a_program_that_does_not_end_is_ended() {
    let scratch = Scratch::new();
    // Opening a fifo without a writer blocks forever.
    let fifo = scratch.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for outputs in ["", "exec >&- 2>&-;"] {
        let body = format!("{outputs} read never < {}", fifo.display());
        let python = scratch.script("python", &body);
        let failure = probe::ask(&python, Duration::from_millis(200)).unwrap_err();
        assert!(matches!(failure, ProbeFailure::TimedOut(_)), "{body}: {failure:?}");
    }
}

#[test]
fn the_setting_goes_before_virtual_env_and_that_before_path() {
    let scratch = Scratch::new();
    let [setting, virtual_env, path] = ["a", "b", "c"].map(|directory| {
        scratch.python(&format!("{directory}/bin/python"), &[]);
        scratch.python(&format!("{directory}/bin/python3"), &[]);
        scratch.path(directory)
    });
    let path = format!("relative::{}", path.join("bin").display());
    let mut choice = PythonChoice {
        setting: setting.to_str(),
        virtual_env: virtual_env.to_str(),
        path: Some(OsStr::new(&path)),
        ..PythonChoice::default()
    };
    assert_eq!(find(&choice).unwrap().executable, scratch.path("a/bin/python"));
    choice.setting = None;
    assert_eq!(find(&choice).unwrap().executable, scratch.path("b/bin/python"));
    choice.virtual_env = Some("");
    assert_eq!(find(&choice).unwrap().executable, scratch.path("c/bin/python3"));
    choice.setting = Some("python3");
    assert_eq!(find(&choice).unwrap().executable, scratch.path("c/bin/python3"));
}

#[test]
fn rwsgis_own_virtualenv_goes_before_virtual_env_and_dot_venv_after_it() {
    let scratch = Scratch::new();
    for directory in ["own", "active", "site/.venv", "usr"] {
        scratch.python(&format!("{directory}/bin/python"), &[]);
        scratch.python(&format!("{directory}/bin/python3"), &[]);
    }
    let make_virtualenv = |name: &str| {
        scratch.write(&format!("{name}/pyvenv.cfg"), "home = /nowhere\n");
        std::fs::create_dir_all(scratch.path(&format!("{name}/lib/python3.13"))).unwrap();
    };
    let (program, site, active) = (scratch.path("own/bin/rwsgi"), scratch.path("site"), scratch.path("active"));
    let path = scratch.path("usr/bin");
    let mut choice = PythonChoice {
        program: Some(&program),
        directory: Some(&site),
        virtual_env: active.to_str(),
        path: Some(path.as_os_str()),
        ..PythonChoice::default()
    };
    let check = |choice: &PythonChoice<'_>, expected: &str, named_by: &str| {
        let found = find(choice).unwrap();
        assert_eq!((found.executable, found.named_by.to_string().as_str()), (scratch.path(expected), named_by));
    };
    check(&choice, "active/bin/python", "VIRTUAL_ENV");
    make_virtualenv("own");
    check(&choice, "own/bin/python", "rwsgi's virtualenv");
    // A virtualenv of pipx has rwsgi and not the application: only if there is no other one.
    scratch.write("own/pipx_metadata.json", "{}");
    check(&choice, "active/bin/python", "VIRTUAL_ENV");
    choice.virtual_env = None;
    check(&choice, "own/bin/python", "rwsgi's virtualenv");
    make_virtualenv("site/.venv");
    check(&choice, "site/.venv/bin/python", ".venv");
    choice.program = None;
    check(&choice, "site/.venv/bin/python", ".venv");
    choice.directory = Some(Path::new("/nowhere"));
    check(&choice, "usr/bin/python3", "PATH");
}

#[test]
fn a_virtualenv_in_uvs_cache_goes_after_virtual_env() {
    let scratch = Scratch::new();
    for directory in ["cache/archive/own", "active"] {
        scratch.python(&format!("{directory}/bin/python"), &[]);
        scratch.write(&format!("{directory}/pyvenv.cfg"), "home = /nowhere\n");
        std::fs::create_dir_all(scratch.path(&format!("{directory}/lib/python3.13"))).unwrap();
    }
    let (program, active) = (scratch.path("cache/archive/own/bin/rwsgi"), scratch.path("active"));
    let choice = PythonChoice { program: Some(&program), virtual_env: active.to_str(), ..PythonChoice::default() };
    assert_eq!(find(&choice).unwrap().named_by, NamedBy::OwnVirtualenv);
    scratch.write("cache/CACHEDIR.TAG", "");
    assert_eq!(find(&choice).unwrap().named_by, NamedBy::VirtualEnv);
}

#[test]
fn a_virtualenv_that_was_found_and_cannot_serve_is_an_error() {
    let scratch = Scratch::new();
    scratch.write("site/.venv/pyvenv.cfg", "home = /nowhere\n");
    let site = scratch.path("site");
    let choice = PythonChoice { directory: Some(&site), ..PythonChoice::default() };
    let expected = ".venv: @/site/.venv: expected a virtualenv, found no bin/python in it\n\
                    hint: python3 -m venv @/site/.venv";
    assert_eq!(words(&scratch, find(&choice)), expected);
}

#[test]
fn a_shim_leads_to_the_interpreter_behind_it() {
    let scratch = Scratch::new();
    let behind = scratch.script("behind", "");
    let shim = scratch.python("shim", &[("executable", behind.to_str().unwrap())]);
    assert_eq!(by_setting(&shim).unwrap().executable, behind);
}

#[test]
fn a_newer_python_than_the_newest_known_is_let_in() {
    let scratch = Scratch::new();
    let python = scratch.python("python", &[("version", "3.19.0"), ("release", "3.19.0a1+")]);
    let found = by_setting(&python).unwrap();
    assert_eq!((found.version, found.release.as_str()), ((3, 19, 0), "3.19.0a1+"));
}

#[test]
fn the_library_is_loaded_if_the_interpreter_uses_it_itself() {
    let scratch = Scratch::new();
    let library = scratch.write("lib/libpython3.13.so.1.0", "");
    let (lib, here) = (scratch.path("lib"), scratch.0.to_str().unwrap());
    let check = |changes: &[(&str, &str)], wanted: Option<LaunchOverride>, expected: &LaunchMode| {
        let python = scratch.python("python", changes);
        let found = find(&PythonChoice { setting: python.to_str(), launch: wanted, ..PythonChoice::default() });
        assert_eq!(&found.unwrap().launch, expected, "{changes:?}");
    };
    let by_library = LaunchMode::LoadLibrary(library.clone());
    let found_in = [("library_directory", lib.to_str().unwrap())];
    let mapped = [("library_mapped", library.to_str().unwrap())];
    check(&mapped, None, &by_library);
    check(&mapped, Some(LaunchOverride::ExecPython), &LaunchMode::ExecPython);
    for there in [found_in, [("base_prefix", here)]] {
        check(&there, None, &LaunchMode::ExecPython);
        check(&there, Some(LaunchOverride::LoadLibrary), &by_library);
    }
    check(&[], None, &LaunchMode::ExecPython);
    scratch.write("lib/libpython3.13.a", "");
    check(&[("library", "libpython3.13.a"), found_in[0]], None, &LaunchMode::ExecPython);
}

#[test]
fn to_load_a_library_that_is_not_there_is_an_error() {
    let scratch = Scratch::new();
    let check = |changes: &[(&str, &str)], found: &str| {
        let python = scratch.python("python", changes);
        let choice = PythonChoice {
            setting: python.to_str(),
            launch: Some(LaunchOverride::LoadLibrary),
            ..PythonChoice::default()
        };
        let expected = format!(
            "python: @/python: expected an interpreter with a libpython, found {found}\n\
             hint: install libpython, or leave RWSGI_LAUNCH unset"
        );
        assert_eq!(words(&scratch, find(&choice)), expected);
    };
    check(&[("library_directory", "/a")], "none at /a/libpython3.13.so.1.0 or /nowhere/lib/libpython3.13.so.1.0");
    check(&[("library", "libpython3.13.a")], "one built without it");
}

#[test]
fn a_launch_mode_is_named_by_its_word() {
    assert_eq!("library".parse(), Ok(LaunchOverride::LoadLibrary));
    assert_eq!("executable".parse(), Ok(LaunchOverride::ExecPython));
    assert_eq!("window".parse::<LaunchOverride>(), Err("expected library or executable, found \"window\"".to_owned()));
}

/// Returns the interpreters of this machine, of every version that may be accepted.
fn real_pythons() -> Vec<Interpreter> {
    let path = std::env::var_os("PATH");
    (11..=15)
        .map(|minor| format!("python3.{minor}"))
        .filter_map(|name| {
            find(&PythonChoice { setting: Some(&name), path: path.as_deref(), ..PythonChoice::default() }).ok()
        })
        // Without the environment of a wrapper on PATH, which `enter` would take over: this process has several threads.
        .filter_map(|python| by_setting(&python.executable).ok())
        .collect()
}

#[test]
fn a_real_virtualenv_keeps_its_own_name() {
    for python in real_pythons() {
        let scratch = Scratch::new();
        let venv = scratch.path("venv");
        let made = Command::new(&python.executable).args(["-m", "venv", "--without-pip"]).arg(&venv).output().unwrap();
        if !made.status.success() {
            continue;
        }
        let found = by_setting(&venv).unwrap();
        assert_eq!(found.executable, venv.join("bin/python"));
        assert_eq!(found.prefix, venv);
        assert_eq!((found.version, found.libpython), (python.version, python.libpython));
    }
}

#[test]
fn an_invalid_engine_is_refused_when_it_is_loaded() {
    let scratch = Scratch::new();
    let engine = std::fs::File::open(scratch.write("engine", "not a library")).unwrap();
    for python in
        real_pythons().into_iter().filter(|python| matches!(python.launch, LaunchMode::LoadLibrary(_))).take(1)
    {
        let error = python.enter(engine.as_fd(), 3).to_string();
        assert!(error.starts_with("engine: expected a library that loads, found one that does not: "), "{error}");
    }
}

#[test]
fn a_library_that_is_none_is_refused() {
    let scratch = Scratch::new();
    let library = scratch.write("libpython3.13.so.1.0", "not a library");
    let python = scratch.python("python", &[("library_mapped", library.to_str().unwrap())]);
    let engine = std::fs::File::open(&library).unwrap();
    let error = by_setting(&python).unwrap().enter(engine.as_fd(), 3).to_string();
    let expected = format!("{0}: expected a libpython that loads, found one that does not: {0}: ", library.display());
    assert!(error.starts_with(&expected), "{error}");
}

#[test]
fn an_executable_that_went_away_is_said() {
    let scratch = Scratch::new();
    let python = scratch.python("python", &[]);
    let found = by_setting(&python).unwrap();
    std::fs::remove_file(&python).unwrap();
    let engine = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(
        found.enter(engine.as_fd(), 0).to_string(),
        format!(
            "{}: expected an executable, found a file that does not run: No such file or directory (os error 2)",
            python.display()
        )
    );
}
