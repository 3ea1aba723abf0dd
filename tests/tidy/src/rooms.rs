//! The modules of a crate, which of them each stands on, and whether any stands on itself.
//!
//! A room is a module with all that is below it. Within each folder, and at the top of the crate,
//! rooms may import each other downwards only. What a room takes from the folder that it is in (the
//! type whose methods it holds) is no import of a neighbour.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::imports::crate_paths;
use crate::sources::Source;

/// The rooms of one folder.
#[derive(Clone, Debug)]
pub struct Rooms {
    /// The folder's module: nothing for the crate itself.
    pub folder: String,
    /// Each room, and its neighbours that it imports from.
    pub imports: BTreeMap<String, BTreeSet<String>>,
}

impl Rooms {
    /// The rooms of every folder of a crate whose sources are below `root`, the crate's own first.
    pub fn of_crate(files: &[Source], root: &str) -> Vec<Self> {
        let mut folders: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        for file in files.iter().filter(|file| !file.is_test()) {
            let Some(module) = file.module(root) else { continue };
            for depth in 0..module.len() {
                let rooms = folders.entry(module[..depth].join("::")).or_default();
                rooms.entry(module[depth].to_owned()).or_default();
            }
        }
        for file in files.iter().filter(|file| !file.is_test()) {
            let Some(module) = file.module(root) else { continue };
            for path in crate_paths(file, &module) {
                let path: Vec<&str> = path.split("::").collect();
                let shared = module.iter().zip(&path).take_while(|(a, b)| a == b).count();
                let (Some(from), Some(to)) = (module.get(shared), path.get(shared)) else {
                    continue;
                };
                let Some(rooms) = folders.get_mut(&module[..shared].join("::")) else { continue };
                if rooms.contains_key(*to)
                    && let Some(imports) = rooms.get_mut(*from)
                {
                    imports.insert((*to).to_owned());
                }
            }
        }
        let rooms = folders.into_iter().map(|(folder, imports)| Self { folder, imports });
        rooms.filter(|rooms| rooms.imports.len() > 1).collect()
    }

    /// The rooms by height: on the ground those that import no neighbour, on each next level those
    /// that stand on lower ones only.
    ///
    /// # Errors
    /// The rooms that are left when no level can follow: each is in a circle, or stands on one.
    pub fn levels(&self) -> Result<Vec<Vec<&str>>, Vec<&str>> {
        let mut left: BTreeSet<&str> = self.imports.keys().map(String::as_str).collect();
        let mut levels = Vec::new();
        while !left.is_empty() {
            let stands = |room: &&str| {
                let imports = self.imports[*room].iter();
                imports.map(String::as_str).all(|below| !left.contains(below))
            };
            let level: Vec<&str> = left.iter().copied().filter(stands).collect();
            if level.is_empty() {
                return Err(left.into_iter().collect());
            }
            left.retain(|room| !level.contains(room));
            levels.push(level);
        }
        Ok(levels)
    }

    /// Whether a room imports from a neighbour, by itself or through others.
    pub fn reaches(&self, from: &str, to: &str) -> bool {
        let mut seen = BTreeSet::new();
        let mut next = vec![from];
        while let Some(room) = next.pop() {
            for below in self.imports.get(room).into_iter().flatten() {
                if below == to {
                    return true;
                }
                if seen.insert(below.as_str()) {
                    next.push(below);
                }
            }
        }
        false
    }
}

/// From the top down, each room with what it stands on.
impl fmt::Display for Rooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.folder.is_empty() { "the crate" } else { &self.folder };
        writeln!(f, "{name}")?;
        let line = |f: &mut fmt::Formatter<'_>, height: String, room: &str| {
            let below: Vec<&str> = self.imports[room].iter().map(String::as_str).collect();
            let text = format!("  {height:>2} {room:<18} {}", below.join(", "));
            writeln!(f, "{}", text.trim_end())
        };
        match self.levels() {
            Ok(levels) => {
                for (height, level) in levels.iter().enumerate().rev() {
                    for room in level {
                        line(f, height.to_string(), room)?;
                    }
                }
            }
            Err(circle) => {
                writeln!(f, "  a circle:")?;
                for room in circle {
                    line(f, "?".into(), room)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> Source {
        Source { path: format!("src/{path}"), text: text.into() }
    }

    #[test]
    fn what_stands_on_what_is_read_from_imports() {
        let files = [
            file("lib.rs", "mod a;\nuse crate::a::A;\n"),
            file("a.rs", "use crate::b::c::C;\n"),
            file("b/mod.rs", "struct B;\n"),
            file("b/c.rs", "use crate::b::B;\nuse crate::b::d::D;\n"),
            file("b/d.rs", ""),
        ];
        let rooms = Rooms::of_crate(&files, "src");
        assert_eq!(rooms[0].levels(), Ok(vec![vec!["b"], vec!["a"]]));
        assert_eq!(
            (rooms[1].folder.as_str(), rooms[1].levels()),
            ("b", Ok(vec![vec!["d"], vec!["c"]]))
        );
        assert!(rooms[0].reaches("a", "b") && !rooms[0].reaches("b", "a"));
    }

    #[test]
    fn a_circle_is_found_through_a_third() {
        let files = [
            file("a.rs", "use crate::b::B;"),
            file("b.rs", "fn f() -> crate::c::C {}"),
            file("c/mod.rs", ""),
            file("c/deep.rs", "use crate::{a, d::D};"),
            file("d.rs", ""),
        ];
        let rooms = Rooms::of_crate(&files, "src");
        assert_eq!(rooms[0].levels(), Err(vec!["a", "b", "c"]));
    }
}
