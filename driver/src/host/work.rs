//! [`Work`]: what a flow's turn came to.

/// What a flow's turn came to, and how many bytes it moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Work {
    /// There is nothing to do before the next event or action.
    Done { moved: usize },
    /// The budget ended first.
    More { moved: usize },
    /// The host leg is at its end, and core knows.
    Over,
}

impl Work {
    pub(crate) const NOTHING: Self = Self::Done { moved: 0 };
}
