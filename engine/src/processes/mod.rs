//! The processes that hold Python: the zygote, the hook process and the workers, and the passage from one to the other by a fork.

pub(crate) mod fork;
pub(crate) mod hook_process;
pub(crate) mod inheritance;
pub(crate) mod own_requests;
pub(crate) mod privileges;
pub(crate) mod program_limits;
pub(crate) mod setup;
pub(crate) mod signals;
pub(crate) mod spill_directory;
pub(crate) mod threads;
pub(crate) mod title;
pub(crate) mod worker;
pub(crate) mod zygote;
