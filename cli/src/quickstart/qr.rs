//! Text as a QR code for a terminal.

use std::fmt::Write as _;

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

/// White blocks on black, whatever the terminal's colours are.
const COLOURS: &str = "\x1b[97;40m";
const COLOURS_OFF: &str = "\x1b[0m";

/// How a code is drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Style {
    /// With a terminal's colours.
    Coloured,
    /// With characters alone, for light text on a dark background.
    Plain,
}

/// Draws a code with its quiet zone; `None` if the text is too long for one.
pub(crate) fn draw(text: &str, style: Style) -> Option<String> {
    // The code is seen on a screen, undamaged: the lowest level of correction keeps it small.
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    // What is light in the code is drawn, as text is light where the background is dark.
    let image = code
        .render::<Dense1x2>()
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .quiet_zone(true)
        .build();
    let (on, off) = match style {
        Style::Coloured => (COLOURS, COLOURS_OFF),
        Style::Plain => ("", ""),
    };
    let mut drawing = String::with_capacity(image.len() * 2);
    for line in image.lines() {
        // Writing to a String cannot fail.
        let _ = writeln!(drawing, "{on}{line}{off}");
    }
    Some(drawing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_a_quiet_zone_around_it() {
        let drawing = draw("slipwire", Style::Plain).unwrap();
        let lines: Vec<_> = drawing.lines().collect();
        // Version 1 has 21 modules, and 4 of the quiet zone on each side.
        assert!(lines.iter().all(|line| line.chars().count() == 29), "{drawing}");
        assert!(lines[..2].iter().all(|line| line.chars().all(|c| c == '█')), "{drawing}");
        assert!(
            lines
                .iter()
                .all(|line| line.starts_with("████") && line.ends_with("████")
                    || line.starts_with('▀')),
            "{drawing}"
        );
    }

    #[test]
    fn colours_are_switched_off_at_the_end_of_each_line() {
        let drawing = draw("slipwire", Style::Coloured).unwrap();
        assert!(
            drawing.lines().all(|line| line.starts_with(COLOURS) && line.ends_with(COLOURS_OFF))
        );
    }

    #[test]
    fn a_text_that_is_too_long_has_no_code() {
        assert!(draw(&"x".repeat(5000), Style::Plain).is_none());
    }
}
