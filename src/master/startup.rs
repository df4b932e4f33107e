//! The values that a master was started with. They hold until it ends.

use std::path::PathBuf;

use super::configuration::PythonFile;
use super::restart_only::RestartOnly;
use super::{AnyError, Generation, LogFiles, ReadSettings};
use crate::message::Predecessor;
use crate::os::daemonize::Background;
use crate::os::place;
use crate::os::program::Program;
use crate::os::reexec::CommandLine;
use crate::os::sd_notify::Announcer;
use crate::settings::Defined;

/// The values to start a master with.
pub struct Launch<'a> {
    /// The configuration file, if it is in Python.
    pub file: Option<PythonFile>,
    /// Reads the settings with the definitions of a Python file, or returns everything that is wrong with them.
    pub read: &'a ReadSettings<'a>,
    /// The words of the command line, for the application's `sys.argv`.
    pub arguments: Vec<String>,
    /// The command to start this program again.
    pub command_line: CommandLine,
    /// The master that this one is started beside.
    pub predecessor: Option<Predecessor>,
    /// The engine inside the executable, if it holds one.
    pub engine: &'a [u8],
    /// The service manager, if one has started this process.
    pub announcer: Announcer,
    /// The directories in which a control socket may be that no setting names, the preferred one first.
    pub directories: Vec<PathBuf>,
    /// The variables of the environment by which it names this process.
    pub addressed: Vec<&'static str>,
    /// True for a check: loads the application, reports the result and serves nothing.
    pub check: bool,
    /// The directory in which it was started, if its path leads through a symbolic link.
    pub directory: Option<PathBuf>,
    /// The state of this process as a daemon, if it is one.
    pub background: Option<&'a Background>,
}

/// The values that a master was started with; for most of them see [`Launch`].
pub(super) struct Startup<'a> {
    pub(super) read: &'a ReadSettings<'a>,
    pub(super) file: Option<PythonFile>,
    pub(super) arguments: Vec<String>,
    pub(super) command_line: CommandLine,
    pub(super) check: bool,
    /// The directory in which it was started, if its path leads through a symbolic link.
    pub(super) directory: Option<PathBuf>,
    /// The background process, until the process that started it has been told that the server serves.
    pub(super) background: Option<&'a Background>,
    pub(super) program: Program,
    pub(super) restart_only: RestartOnly,
    pub(super) directories: Vec<PathBuf>,
}

impl Startup<'_> {
    /// Enters the directory again in which the server was started: its link may lead to another one by now.
    pub(super) fn enter_directory(&self) {
        if let Some(directory) = &self.directory {
            if let Err(error) = place::enter(directory) {
                let directory = directory.display();
                tracing::warn!(%directory, %error, "working directory not entered again, the old one stays");
            }
        }
    }

    /// Reads the settings for a reload, with the values that a Python file defined, and opens a generation by them.
    pub(super) fn read_generation(&self, number: u64, defined: Option<&Defined>) -> Result<Generation, AnyError> {
        let mut generation = Generation::new(number, (self.read)(defined)?, LogFiles::open)?;
        generation.take_hooks(defined)?;
        Ok(generation)
    }
}
