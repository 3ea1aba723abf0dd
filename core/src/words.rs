//! [`words`]: enums that have one word for each variant, for logs, listings and metrics.

/// Makes an enum of which each variant has a word of its own, with `ALL`, `name` and `Display`.
macro_rules! words {
    (
        $(#[$about:meta])+
        $name:ident { $($(#[doc = $doc:literal])+ $variant:ident => $word:literal,)+ }
    ) => {
        $(#[$about])+
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl $name {
            /// All of them, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its word.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(self.name())
            }
        }
    };
}
pub(crate) use words;
