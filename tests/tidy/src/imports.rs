//! The paths of its own crate that a file names.

use crate::sources::Source;

/// Every path of its own crate that a file names, from the crate down, as in `stack::tcp::Ends`.
/// `module` is the file's own. Tests and comments don't count.
pub fn crate_paths(source: &Source, module: &[&str]) -> Vec<String> {
    let code: String = source.code().flat_map(|(_, line)| [line, "\n"]).collect();
    let mut paths = Vec::new();
    for (word, depth) in [("crate::", 0), ("super::", module.len().saturating_sub(1))] {
        for (start, _) in code.match_indices(word) {
            // Not the end of a longer word, nor the second of `super::super::`.
            let before = code[..start].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | ':')) {
                continue;
            }
            let (mut depth, mut path) = (depth, &code[start + word.len()..]);
            while let Some(rest) = path.strip_prefix("super::") {
                (depth, path) = (depth.saturating_sub(1), rest);
            }
            let above: String = module[..depth].iter().flat_map(|part| [*part, "::"]).collect();
            unfold(&above, path, &mut paths);
        }
    }
    paths
}

/// Reads one path or group at the start of `text`, and adds each of its leaves behind `before`.
/// Says how many bytes it took.
fn unfold(before: &str, text: &str, paths: &mut Vec<String>) -> usize {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '*';
    let len = text.find(|c| !is_part(c)).unwrap_or(text.len());
    let path = format!("{before}{}", &text[..len]);
    if !text[len..].starts_with('{') {
        if len > 0 {
            paths.push(path);
        }
        return len;
    }
    let mut at = len + 1;
    loop {
        at += text[at..].len() - text[at..].trim_start_matches([' ', '\n', ',']).len();
        if text[at..].starts_with('}') || at >= text.len() {
            return at + 1;
        }
        let taken = unfold(&path, &text[at..], paths);
        // ` as name`, or whatever else stands before the next comma.
        at += taken + text[at + taken..].find([',', '}']).unwrap_or(text.len() - at - taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_unfolded() {
        let text = "use crate::a::{self, b::{C, D as E}, F};\n\
                    fn f(g: &crate::h::I) {} // crate::no\n\
                    // crate::nor::this\n\
                    use mycrate::not;\n";
        let source = Source { path: "x.rs".into(), text: text.into() };
        let paths = crate_paths(&source, &["x"]);
        assert_eq!(paths, ["a::self", "a::b::C", "a::b::D", "a::F", "h::I"]);
    }

    #[test]
    fn super_is_a_path_of_the_crate_too() {
        let text = "use super::super::c::C;\nuse super::{D, e::E};\npub(super) fn f() {}\n";
        let source = Source { path: "a/b.rs".into(), text: text.into() };
        assert_eq!(crate_paths(&source, &["a", "b"]), ["c::C", "a::D", "a::e::E"]);
    }
}
