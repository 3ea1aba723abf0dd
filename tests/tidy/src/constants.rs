//! The constants that a crate declares.

use crate::sources::Source;

/// A constant outside of traits and functions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Constant {
    /// Its name.
    pub name: String,
    /// What stands behind `=` in its first line.
    pub value: String,
    /// The file that declares it.
    pub path: String,
}

/// Each constant of a crate. What is for tests alone is not the crate's.
pub fn constants(files: &[Source]) -> Vec<Constant> {
    let of_file = |file: &Source| {
        let declared = file.code().filter_map(|(_, line)| declaration(line));
        let constant = |(name, value)| Constant { name, value, path: file.path.clone() };
        declared.map(constant).collect::<Vec<_>>()
    };
    files.iter().filter(|file| !file.is_test()).flat_map(of_file).collect()
}

/// The name and the value that a line declares, if it declares a constant.
fn declaration(line: &str) -> Option<(String, String)> {
    let (declared, value) = line.split_once(" = ")?;
    let (before, declared) = declared.split_once("const ")?;
    let is_public = before.is_empty() || before.starts_with("pub");
    let (name, _) = declared.split_once(": ").filter(|(name, _)| is_public && *name != "_")?;
    Some((name.into(), value.trim_end_matches(';').into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_has_a_name_and_a_value() {
        let declared = |line| declaration(line).map(|(name, value)| format!("{name} {value}"));
        assert_eq!(declared("pub(crate) const A_MAX: usize = 1 << 4;").unwrap(), "A_MAX 1 << 4");
        assert_eq!(declared("const A: u8 = 1;").unwrap(), "A 1");
        assert_eq!(declared("const _: () = assert!(A == B);"), None);
        assert_eq!(declared("    const A: u8 = 1;"), None);
        assert_eq!(declared("let a = 1;"), None);
    }
}
