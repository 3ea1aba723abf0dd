//! Finds and loads the configuration that a command is about.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{Configuration, LoadError, load};
use crate::failure::Failure;

/// Where a configuration is looked for if none is named, in this order.
const PLACES: [&str; 2] = ["slipwire.toml", "/etc/slipwire/slipwire.toml"];

/// Loads the file that is asked for, or else the first that is there.
pub(crate) fn find(asked: Option<PathBuf>) -> Result<Configuration, Failure> {
    let file = asked.or_else(|| PLACES.iter().map(PathBuf::from).find(|place| place.exists()));
    let Some(file) = file else {
        let looked = PLACES.map(|place| {
            let prefix = if Path::new(place).is_relative() { "./" } else { "" };
            format!("{prefix}{place}")
        });
        return Err(Failure::Fault(format!(
            "slipwire: no configuration: neither {} exists; name one with -c FILE, or start with \
             `slipwire quickstart`",
            looked.join(" nor ")
        )));
    };
    load(&file).map_err(Failure::from)
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        let message = error.to_string();
        match error {
            LoadError::Unreadable { error, .. } => match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory => {
                    Self::Fault(message)
                }
                _ => Self::System(message),
            },
            LoadError::TooLarge { .. } | LoadError::NotUtf8 { .. } | LoadError::Faults(_) => {
                Self::Fault(message)
            }
        }
    }
}
