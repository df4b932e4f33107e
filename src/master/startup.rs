//! The values that a master was started with. They hold until it ends.

use super::configuration::PythonFile;
use super::restart_only::RestartOnly;
use super::{AnyError, Generation, LogFiles, ReadSettings};
use crate::os::daemonize::Background;
use crate::os::program::Program;
use crate::os::reexec::CommandLine;
use crate::settings::Defined;

/// The values that a master was started with; for most of them see [`super::Launch`].
pub(super) struct Startup<'a> {
    pub(super) read: &'a ReadSettings<'a>,
    pub(super) file: Option<PythonFile>,
    pub(super) arguments: Vec<String>,
    pub(super) command_line: CommandLine,
    pub(super) check: bool,
    /// The background process, until the process that started it has been told that the server serves.
    pub(super) background: Option<&'a Background>,
    pub(super) program: Program,
    pub(super) restart_only: RestartOnly,
}

impl Startup<'_> {
    /// Reads the settings for a reload, with the values that a Python file defined, and opens a generation by them.
    pub(super) fn read_generation(&self, number: u64, defined: Option<&Defined>) -> Result<Generation, AnyError> {
        let mut generation = Generation::new(number, (self.read)(defined)?, LogFiles::open)?;
        generation.take_hooks(defined)?;
        Ok(generation)
    }
}
