//! How much of a train goes into one send.

use crate::batch::SEND_LEN_MAX;

/// The length of the leading segments of a train that one send may carry: a whole number of
/// segments (the last of the train may be short), at least one.
pub(crate) fn leading_len(train_len: usize, segment_size: usize, segments_max: usize) -> usize {
    let segment_size = segment_size.max(1);
    let segments = segments_max.min(SEND_LEN_MAX / segment_size).max(1);
    train_len.min(segment_size.saturating_mul(segments))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(mut train_len: usize, segment_size: usize, segments_max: usize) -> Vec<usize> {
        let mut pieces = Vec::new();
        while train_len > 0 {
            let piece = leading_len(train_len, segment_size, segments_max);
            pieces.push(piece);
            train_len -= piece;
        }
        pieces
    }

    #[test]
    fn a_train_within_bounds_leaves_whole() {
        assert_eq!(pieces(10 * 1452 + 80, 1452, 64), [10 * 1452 + 80]);
        assert_eq!(pieces(148, 148, 64), [148]);
    }

    #[test]
    fn without_offload_each_segment_leaves_alone() {
        assert_eq!(pieces(3 * 1452 + 80, 1452, 1), [1452, 1452, 1452, 80]);
        assert_eq!(pieces(3 * 1452, 1452, 0), [1452, 1452, 1452]);
    }

    #[test]
    fn pieces_are_whole_segments_of_one_datagram_at_most() {
        for (train_len, segment_size, segments_max) in
            [(200_000, 1452, 64), (200_000, 1452, 7), (65_536, 32, 64), (140_000, 65_500, 64)]
        {
            let pieces = pieces(train_len, segment_size, segments_max);
            assert_eq!(pieces.iter().sum::<usize>(), train_len);
            assert!(pieces.iter().all(|piece| *piece <= SEND_LEN_MAX));
            assert!(pieces.iter().all(|piece| piece.div_ceil(segment_size) <= segments_max));
            let whole = &pieces[..pieces.len() - 1];
            assert!(whole.iter().all(|piece| piece % segment_size == 0));
        }
    }

    #[test]
    fn a_segment_size_of_nothing_still_makes_progress() {
        assert_eq!(leading_len(100, 0, 64), 64);
        assert_eq!(leading_len(0, 0, 0), 0);
    }
}
