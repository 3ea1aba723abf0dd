//! What the two applications of a stream do: who speaks when, how fast, and who breaks off.

use std::time::Duration;

use super::plan::{millis, secs};
use super::socket::{Break, Cue, Ending, Pace, Script};
use slipwire_worlds::dice::Dice;

const AT_ONCE: Pace = Pace { bytes: u64::MAX / 2, pause: Duration::ZERO, rest: None };

/// Two scripts that end each other: neither waits for what the other waits for.
pub(super) fn dialogue(dice: &mut Dice, bytes_max: u64) -> [Script; 2] {
    let cues = [
        // Both at once.
        [(Cue::Start, Ending::AtOnce), (Cue::Start, Ending::AtOnce)],
        [(Cue::Start, Ending::AtOnce), (Cue::Start, Ending::AtOnce)],
        // A question, a half-close, and an answer.
        [(Cue::Start, Ending::AtOnce), (Cue::FarEnd, Ending::AtOnce)],
        // A question, and an answer that ends the connection.
        [(Cue::Start, Ending::AfterFarEnd), (Cue::FirstByte, Ending::AtOnce)],
        [(Cue::Start, Ending::AtOnce), (Cue::FirstByte, Ending::AtOnce)],
        // A greeting.
        [(Cue::FirstByte, Ending::AfterFarEnd), (Cue::Start, Ending::AtOnce)],
    ];
    let mut roles = dice.pick(&cues);
    if dice.chance(200_000) {
        roles.swap(0, 1);
    }
    let (lens, hurried) = ([0, 1].map(|_| dice.size(bytes_max)), dice.chance(400_000));
    let mut scripts = [0, 1].map(|side| {
        let (cue, ending) = roles[side];
        Script {
            sends: lens[side],
            cue,
            ending,
            writing: pace(dice, lens[side], hurried),
            reading: pace(dice, lens[1 - side], hurried),
            breaks: breaks(dice, lens[side], lens[1 - side]),
            buffer: dice.pick(&[1_000, 16_000, 200_000, 200_000]),
            call: dice.pick(&[7_000, 64_000, 1_000_000, 1_000_000]),
        }
    });
    // Whoever speaks first after a first byte must be given one.
    for side in [0, 1] {
        if scripts[side].cue == Cue::FirstByte && scripts[1 - side].sends == 0 {
            scripts[side].cue = Cue::Start;
        }
    }
    scripts
}

fn pace(dice: &mut Dice, len: u64, hurried: bool) -> Pace {
    let pieces = dice.size(40);
    if hurried || pieces < 2 || dice.chance(400_000) {
        return AT_ONCE;
    }
    let rests = [millis(300), secs(5), secs(30), secs(200)];
    let rest = dice.chance(300_000).then(|| (dice.between(0, len), dice.pick(&rests)));
    Pace { bytes: 1 + len / pieces, pause: dice.time(Duration::ZERO, millis(200)), rest }
}

fn breaks(dice: &mut Dice, sends: u64, receives: u64) -> Break {
    match dice.between(0, 29) {
        0 => Break::AfterSending(dice.between(0, sends)),
        1 => Break::AfterReceiving(dice.between(0, receives)),
        _ => Break::Never,
    }
}

/// Two that both send all they have at once, and more than any ring holds.
pub(super) fn duel(dice: &mut Dice, bytes_max: u64) -> [Script; 2] {
    let lens = [0, 1].map(|_| dice.between(bytes_max / 4, bytes_max));
    [0, 1].map(|side| Script {
        sends: lens[side],
        cue: Cue::Start,
        ending: Ending::AtOnce,
        writing: AT_ONCE,
        reading: pace(dice, lens[1 - side], false),
        breaks: Break::Never,
        buffer: dice.pick(&[1_000, 16_000, 200_000]),
        call: dice.pick(&[7_000, 1_000_000]),
    })
}
