//! Text as a QR code for a terminal: two modules in the height of a character, as small as it can
//! be.

use qrcode::{Color, EcLevel, QrCode};

/// White blocks on black, whatever the terminal's colours are.
const COLOURS: &str = "\x1b[97;40m";
const COLOURS_OFF: &str = "\x1b[0m";

/// Modules of white around a code: what the standard asks for, and what cameras get along with.
const QUIET_ZONES: [usize; 2] = [4, 2];

/// Characters of a terminal, in each direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

impl Size {
    const fn holds(self, other: Self) -> bool {
        self.columns >= other.columns && self.rows >= other.rows
    }
}

/// Why there is no code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoCode {
    /// The terminal is too small for it: this is what it takes.
    TooSmall(Size),
    /// No code is as large as that.
    TooLong,
}

/// Draws a code that a terminal of this size can hold, with a line to spare for the cursor.
pub(crate) fn draw(text: &str, terminal: Size) -> Result<String, NoCode> {
    // The code is seen on a screen, undamaged: the lowest level of correction keeps it small.
    let code =
        QrCode::with_error_correction_level(text, EcLevel::L).map_err(|_| NoCode::TooLong)?;
    let modules = Modules { width: code.width(), colours: code.to_colors() };
    let sizes = QUIET_ZONES.map(|quiet_zone| (quiet_zone, modules.size(quiet_zone)));
    let fitting = sizes.iter().find(|(_, size)| terminal.holds(*size));
    match fitting {
        Some((quiet_zone, _)) => Ok(modules.draw(*quiet_zone)),
        None => Err(NoCode::TooSmall(sizes[QUIET_ZONES.len() - 1].1)),
    }
}

/// The small squares that a code is made of.
struct Modules {
    width: usize,
    colours: Vec<Color>,
}

impl Modules {
    fn size(&self, quiet_zone: usize) -> Size {
        let modules = self.width + 2 * quiet_zone;
        Size { columns: modules, rows: modules.div_ceil(2) + 1 }
    }

    /// Whether a module is white; all around the code are.
    fn is_light(&self, row: usize, column: usize, quiet_zone: usize) -> bool {
        let within = |at: usize| at.checked_sub(quiet_zone).filter(|at| *at < self.width);
        match within(row).zip(within(column)) {
            Some((row, column)) => self.colours[row * self.width + column] == Color::Light,
            None => true,
        }
    }

    /// What is light in the code is drawn, as characters are light here.
    fn draw(&self, quiet_zone: usize) -> String {
        let modules = self.width + 2 * quiet_zone;
        let mut drawing = String::with_capacity(4 * modules * modules);
        for row in (0..modules).step_by(2) {
            drawing.push_str(COLOURS);
            for column in 0..modules {
                let upper = self.is_light(row, column, quiet_zone);
                let lower = row + 1 < modules && self.is_light(row + 1, column, quiet_zone);
                drawing.push(match (upper, lower) {
                    (true, true) => '█',
                    (true, false) => '▀',
                    (false, true) => '▄',
                    (false, false) => ' ',
                });
            }
            drawing.push_str(COLOURS_OFF);
            drawing.push('\n');
        }
        drawing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(drawing: &str) -> Vec<&str> {
        drawing
            .lines()
            .map(|line| line.strip_prefix(COLOURS).unwrap().strip_suffix(COLOURS_OFF).unwrap())
            .collect()
    }

    fn terminal(columns: usize, rows: usize) -> Size {
        Size { columns, rows }
    }

    #[test]
    fn a_code_has_a_quiet_zone_around_it() {
        let drawing = draw("slipwire", terminal(80, 24)).unwrap();
        let lines = plain(&drawing);
        // Version 1 has 21 modules, and 4 of the quiet zone on each side.
        assert!(lines.iter().all(|line| line.chars().count() == 29), "{drawing}");
        assert_eq!(lines.len(), 15);
        assert!(lines[..2].iter().all(|line| line.chars().all(|c| c == '█')), "{drawing}");
        assert!(lines[14].chars().all(|c| c == '▀'), "{drawing}");
        assert!(lines.iter().all(|line| line.starts_with("████") || line.starts_with('▀')));
    }

    #[test]
    fn a_code_that_just_fits_has_less_white_around_it() {
        let drawing = draw("slipwire", terminal(28, 15)).unwrap();
        let lines = plain(&drawing);
        assert_eq!((lines.len(), lines[0].chars().count()), (13, 25), "{drawing}");
    }

    #[test]
    fn a_terminal_that_can_not_hold_it_gets_none() {
        let needed = NoCode::TooSmall(terminal(25, 14));
        for small in [terminal(24, 50), terminal(80, 13)] {
            assert_eq!(draw("slipwire", small), Err(needed));
        }
        assert!(draw("slipwire", terminal(25, 14)).is_ok());
        assert_eq!(draw(&"x".repeat(5000), terminal(500, 500)), Err(NoCode::TooLong));
    }
}
