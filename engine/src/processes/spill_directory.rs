//! The choice of the directory for bodies and responses that memory is too small for. It is made once, in the zygote, by
//! the application's user.

use std::env;
use std::path::{Path, PathBuf};

use rwsgi::message::BootFailure;
use rwsgi::os;
use rwsgi::settings::Settings;
use rwsgi::worker;

/// Returns the directory of the settings, else the first one of those that Python's `tempfile` looks at that is on a disk
/// and can be written to, else the first one that can be written to. Errors: `worker_tmp_dir` cannot.
pub(crate) fn choose(settings: &Settings) -> Result<PathBuf, BootFailure> {
    if let Some(directory) = &settings.worker_tmp_dir {
        let failed = |error: std::io::Error| {
            let error = os::words(&error);
            let hint = "hint: name a directory to which the application's user can write";
            BootFailure::setup(&format!("worker_tmp_dir: {}: {error}\n{hint}", directory.display()))
        };
        return worker::try_spilling(directory).map_err(failed).map(|()| directory.clone());
    }
    let candidates = candidates();
    let tried: Vec<(&PathBuf, Result<(), String>)> = candidates.iter().map(|path| (path, fitness(path))).collect();
    let fitting = tried.iter().find(|(_, fitness)| fitness.is_ok());
    let chosen = fitting.map(|(path, _)| *path).or_else(|| candidates.iter().find(|path| is_usable(path)));
    let Some(chosen) = chosen else {
        tracing::warn!(
            tried = ?candidates,
            "no directory for temporary files: request bodies that are too large for memory are refused\nhint: worker_tmp_dir"
        );
        return Ok(env::temp_dir());
    };
    log(chosen, &tried);
    Ok(chosen.clone())
}

/// Says where files go if that is not the first place.
fn log(chosen: &Path, tried: &[(&PathBuf, Result<(), String>)]) {
    let directory = chosen.display();
    match tried.first() {
        Some((first, Err(error))) if *first == chosen => tracing::warn!(
            %directory, %error, "large bodies and responses go to a directory that they fill\nhint: worker_tmp_dir"
        ),
        Some((first, Err(error))) => tracing::warn!(
            %directory, not = %first.display(), %error,
            "large bodies and responses go to another directory for temporary files\nhint: worker_tmp_dir"
        ),
        _ => tracing::debug!(%directory, "large bodies and responses go to this directory"),
    }
}

/// Returns the directories in the order of Python's `tempfile`.
fn candidates() -> Vec<PathBuf> {
    let named = ["TMPDIR", "TEMP", "TMP"].into_iter().filter_map(env::var_os).filter(|value| !value.is_empty());
    let usual = ["/tmp", "/var/tmp", "/usr/tmp"].into_iter().map(PathBuf::from);
    named.map(PathBuf::from).chain(usual).chain(env::current_dir()).map(absolute).collect()
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// Returns why a directory is not the best one.
fn fitness(directory: &Path) -> Result<(), String> {
    worker::try_spilling(directory).map_err(|error| os::words(&error))?;
    if os::is_in_memory(directory) { Err("it is in memory".to_owned()) } else { Ok(()) }
}

fn is_usable(directory: &Path) -> bool {
    worker::try_spilling(directory).is_ok()
}
