//! The rules of the house.

use slipwire_tidy::rooms::Rooms;
use slipwire_tidy::sources::{Source, root, rust_files};
use slipwire_tidy::types::declared;

const CRATES: [&str; 3] = ["core", "driver", "cli"];
const COLUMNS_MAX: usize = 100;
const LINES_MAX: usize = 500;

/// Complains about everything that is wrong at once.
fn expect_none(what: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{what}:\n  {}", faults.join("\n  "));
}

fn all_files() -> Vec<Source> {
    let folders = ["core", "driver", "cli", "tests", "fuzz"];
    let files: Vec<Source> = folders.into_iter().flat_map(rust_files).collect();
    assert!(files.len() > 200, "found {} files: is this the repository?", files.len());
    files
}

#[test]
fn no_comment_is_longer_than_100_columns() {
    let files = all_files();
    let long = files.iter().flat_map(|file| {
        let lines = file.text.lines().enumerate();
        let comments = lines.filter(|(_, line)| line.trim_start().starts_with("//"));
        let long = comments.filter(|(_, line)| line.chars().count() > COLUMNS_MAX);
        // A row of a table can't be broken.
        let long = long.filter(|(_, line)| !line.contains("//! |") && !line.contains("/// |"));
        long.map(|(index, _)| format!("{}:{}", file.path, index + 1))
    });
    expect_none("longer than 100 columns", &long.collect::<Vec<_>>());
}

#[test]
fn modules_stand_on_lower_ones_only() {
    for name in CRATES {
        let root = format!("{name}/src");
        for rooms in Rooms::of_crate(&rust_files(&root), &root) {
            assert!(rooms.levels().is_ok(), "{name}: {rooms}");
        }
    }
}

/// From the ground up: whoever stands lower knows nothing of what stands higher.
const HEIGHTS: [&[&str]; 7] = [
    &["time", "key", "id", "flow", "datagram", "action", "address", "limits", "stats"],
    &["rules"],
    &["config"],
    &["policy"],
    &["stack", "tunnel"],
    &["tape"],
    &["engine"],
];

#[test]
fn core_stands_in_the_order_of_its_drawing() {
    let rooms = Rooms::of_crate(&rust_files("core/src"), "core/src");
    let core = &rooms[0];
    for (height, level) in HEIGHTS.iter().enumerate() {
        for room in *level {
            assert!(core.imports.contains_key(*room), "core has no {room}");
            for above in HEIGHTS[height + 1..].iter().copied().flatten() {
                assert!(!core.reaches(room, above), "{room} stands on {above}");
            }
        }
    }
    assert!(!core.reaches("tunnel", "stack") && !core.reaches("stack", "tunnel"));
}

#[test]
fn documents_say_the_version_of_tapes_that_the_code_writes() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let frame = read("core/src/tape/frame.rs");
    let (_, version) = frame.split_once("VERSION: u16 = ").expect("tapes have a version");
    let (version, _) = version.split_once(';').expect("a constant ends");
    let head = read("core/src/tape/mod.rs");
    assert!(head.contains(&format!("# The format, version {version}\n")), "it is {version}");
}

#[test]
fn every_file_that_a_document_names_exists() {
    let mut missing = Vec::new();
    for document in ["ARCHITECTURE.md", "LEXICON.md", "CONTRIBUTING.md", "SECURITY.md"] {
        let text = std::fs::read_to_string(root().join(document)).unwrap_or_default();
        let quoted = text.split('`').skip(1).step_by(2);
        let linked = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        let linked = linked.map(|(path, _)| path).filter(|path| !path.contains("://"));
        let folders = ["core/", "driver/", "cli/", "tests/", "fuzz/", ".ci/"];
        let is_path = |path: &&str| {
            folders.iter().any(|folder| path.starts_with(folder)) && !path.contains([' ', '*', '{'])
        };
        for path in quoted.filter(is_path).chain(linked) {
            let path = path.split('#').next().unwrap_or(path);
            if !root().join(path).exists() {
                missing.push(format!("{document}: {path}"));
            }
        }
    }
    expect_none("files that documents name and that are not there", &missing);
}

#[test]
fn no_file_is_longer_than_500_lines() {
    let files = all_files();
    let counts = files.iter().map(|file| (file, file.text.lines().count()));
    let long = counts.filter(|(_, lines)| *lines > LINES_MAX);
    let long: Vec<String> = long.map(|(f, lines)| format!("{}: {lines}", f.path)).collect();
    expect_none("longer than 500 lines", &long);
}

#[test]
fn no_crate_has_two_types_of_one_name() {
    for name in CRATES {
        let declared = declared(&rust_files(&format!("{name}/src")));
        assert!(declared.len() > 10, "found {} types in {name}", declared.len());
        let twice = declared.into_iter().filter(|(_, places)| places.len() > 1);
        let twice: Vec<String> =
            twice.map(|(name, places)| format!("{name}: {}", places.join(", "))).collect();
        expect_none(name, &twice);
    }
}

#[test]
fn the_head_of_a_folder_names_every_room_in_it() {
    let mut missing = Vec::new();
    for name in CRATES {
        let files = rust_files(&format!("{name}/src"));
        for head in files.iter().filter(|file| file.path.ends_with("/mod.rs") && !file.is_test()) {
            let text: Vec<&str> =
                head.text.lines().take_while(|line| line.starts_with("//!")).collect();
            let text = text.join("\n");
            let rooms = head.text.lines().filter_map(|line| {
                let (_, room) = line.split_once("mod ")?;
                let is_declared = line.starts_with("mod") || line.starts_with("pub");
                room.strip_suffix(';').filter(|room| is_declared && *room != "tests")
            });
            let unnamed = rooms.filter(|room| {
                ![format!("`{room}`"), format!("{room}.rs"), format!("{room}/")]
                    .iter()
                    .any(|n| text.contains(n))
            });
            missing.extend(unnamed.map(|room| format!("{}: {room}", head.path)));
        }
    }
    expect_none("rooms that the head of their folder does not name", &missing);
}
