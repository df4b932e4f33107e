//! The program: hands the words of the command line to `rwsgi::cli`.

fn main() {}
