//! [`Errors`]: everything that is wrong at once, as one error.

use std::error::Error;
use std::fmt;

/// Everything that is wrong with something, which is one thing at least: one line each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Errors<E>(Vec<E>);

impl<E> Errors<E> {
    /// `Ok` where nothing is wrong.
    ///
    /// # Errors
    /// All of `errors`, in their order.
    pub fn none_of(errors: impl IntoIterator<Item = E>) -> Result<(), Self> {
        let errors: Vec<E> = errors.into_iter().collect();
        if errors.is_empty() { Ok(()) } else { Err(Self(errors)) }
    }

    /// Each of them, in the order in which they were found.
    pub fn iter(&self) -> std::slice::Iter<'_, E> {
        self.0.iter()
    }

    /// All of them, in that order; never empty.
    pub fn as_slice(&self) -> &[E] {
        &self.0
    }
}

impl<E> From<E> for Errors<E> {
    fn from(error: E) -> Self {
        Self(vec![error])
    }
}

impl<E> Extend<E> for Errors<E> {
    fn extend<I: IntoIterator<Item = E>>(&mut self, errors: I) {
        self.0.extend(errors);
    }
}

impl<E> IntoIterator for Errors<E> {
    type Item = E;
    type IntoIter = std::vec::IntoIter<E>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, E> IntoIterator for &'a Errors<E> {
    type Item = &'a E;
    type IntoIter = std::slice::Iter<'a, E>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<E: fmt::Display> fmt::Display for Errors<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl<E: Error> Error for Errors<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_errors_are_one_with_a_line_each() {
        let none: [fmt::Error; 0] = [];
        assert_eq!(Errors::none_of(none), Ok(()));
        let two = Errors::none_of([fmt::Error, fmt::Error]).unwrap_err();
        assert_eq!(two.to_string(), format!("{}\n{}", fmt::Error, fmt::Error));
        assert_eq!(two.into_iter().count(), 2);
    }
}
