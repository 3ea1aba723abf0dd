//! The files of the repository.

use std::fs;
use std::path::{Path, PathBuf};

/// One Rust file.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its path below the root of the repository, with `/`.
    pub path: String,
    /// What is in it.
    pub text: String,
}

impl Source {
    /// Its module within its crate, whose sources are below `root`: `["stack", "tcp"]` for
    /// `stack/tcp/mod.rs`, nothing for `lib.rs` and `main.rs`. `None` if it is not below `root`.
    pub fn module(&self, root: &str) -> Option<Vec<&str>> {
        let path = self.path.strip_prefix(root)?.trim_start_matches('/').strip_suffix(".rs")?;
        let mut module: Vec<&str> = path.split('/').collect();
        if matches!(module.last(), Some(&("mod" | "lib" | "main"))) {
            module.pop();
        }
        Some(module)
    }

    /// The lines that are compiled into the crate itself: up to the tests at the end of the file,
    /// without comments. Their numbers begin with 1.
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(index, line)| (index + 1, line));
        let lines = lines.take_while(|(_, line)| *line != "mod tests {");
        lines.map(|(number, line)| (number, without_comment(line)))
    }

    /// Whether it holds nothing but tests.
    pub fn is_test(&self) -> bool {
        self.path.split('/').any(|part| matches!(part, "tests" | "tests.rs"))
    }
}

/// The directory that the whole repository is in.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every Rust file below `folder`, which is relative to the root, in the order of paths.
///
/// # Panics
/// If a file can't be read.
pub fn rust_files(folder: &str) -> Vec<Source> {
    let mut files = Vec::new();
    collect(&root(), folder, &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn collect(root: &Path, folder: &str, files: &mut Vec<Source>) {
    let entries = fs::read_dir(root.join(folder)).unwrap_or_else(|e| panic!("{folder}: {e}"));
    for entry in entries {
        let entry = entry.unwrap_or_else(|e| panic!("{folder}: {e}"));
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        if entry.path().is_dir() {
            if !name.starts_with('.') && name != "target" {
                collect(root, &path, files);
            }
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(entry.path()).unwrap_or_else(|e| panic!("{path}: {e}"));
            files.push(Source { path, text });
        }
    }
}

fn without_comment(line: &str) -> &str {
    if line.trim_start().starts_with("//") { "" } else { line.split(" // ").next().unwrap_or(line) }
}
