//! How a command fails: what the user is told, and the exit code.

use std::fmt;
use std::process::ExitCode;

use std::io;

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What was asked for is faulty: a configuration, a key.
    Fault(String),
    /// The command line is not understood.
    Usage {
        /// What is wrong with it.
        message: String,
        /// The command whose help shows how it is done, with the program's name.
        help: String,
    },
    /// The system refused.
    System(String),
}

impl Failure {
    /// A refusal of the system in the course of `what`.
    pub(crate) fn system(what: &str) -> impl Fn(io::Error) -> Self + '_ {
        move |error| Self::System(format!("slipwire: {what}: {error}"))
    }

    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Fault(_) => 1,
            Self::Usage { .. } => 2,
            Self::System(_) => 3,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(message) | Self::System(message) => f.write_str(message),
            Self::Usage { message, help } => {
                write!(f, "slipwire: {message}; `{help} --help` shows how")
            }
        }
    }
}
