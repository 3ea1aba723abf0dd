//! The names of types that a crate declares.

use std::collections::BTreeMap;

use crate::sources::Source;

/// Each name of a struct, enum, union, trait or type of a crate, and the files that declare one.
/// What stands within a trait or a function is not the crate's.
pub fn declared(files: &[Source]) -> BTreeMap<String, Vec<String>> {
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files.iter().filter(|file| !file.is_test()) {
        for (number, line) in file.code() {
            if let Some(name) = declaration(line) {
                names.entry(name.into()).or_default().push(format!("{}:{number}", file.path));
            }
        }
    }
    names
}

/// The name that a line declares, if it begins a type.
fn declaration(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
    if line.starts_with(' ') {
        return None;
    }
    let word = words.next()?;
    let word = if matches!(word, "in" | "unsafe") { words.next()? } else { word };
    if !matches!(word, "struct" | "enum" | "union" | "trait" | "type") {
        return None;
    }
    let name = words.next()?;
    let len = name.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(name.len());
    Some(&name[..len])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_is_known_by_its_first_words() {
        assert_eq!(declaration("pub(crate) struct Ends<'a> {"), Some("Ends"));
        assert_eq!(declaration("enum Kind {"), Some("Kind"));
        assert_eq!(declaration("type Entry = (u8, u8);"), Some("Entry"));
        assert_eq!(declaration("    type Item = u8;"), None);
        assert_eq!(declaration("impl Stack {"), None);
        assert_eq!(declaration("let structure = 1;"), None);
    }
}
