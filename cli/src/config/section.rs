//! Reads one table of a file, key by key, into values that cannot be wrong.
//!
//! What a value must look like is the business of [`Value`]; which keys there are, of `schema`.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{At, Problem, Report};
use super::schema::{self, Occurs, Schema};

/// A type that a single TOML value is read into.
pub(super) trait Value: Sized {
    /// Reads the value, or says what is wrong with it.
    fn read(value: &DeValue<'_>) -> Result<Self, Problem>;
}

/// One table of a file. Its unknown keys have been reported.
#[derive(Debug)]
pub(super) struct Section<'t> {
    schema: &'static Schema,
    table: &'t DeTable<'t>,
    offset: usize,
}

/// Reports what stands at the top of a file and is no table of ours.
pub(super) fn report_unknown_tables(root: &DeTable<'_>, report: &mut Report) {
    for (name, value) in root {
        if schema::ALL.iter().any(|schema| schema.name == name.get_ref()) {
            continue;
        }
        let is_table = match value.get_ref() {
            DeValue::Array(items) => items.iter().any(|item| item.get_ref().is_table()),
            value => value.is_table(),
        };
        let kind = if is_table { "table" } else { "key" };
        let mend = schema::mend_unknown_table(name.get_ref());
        report.fault(
            name.span().start,
            name.get_ref().as_ref(),
            Problem::new(format!("unknown {kind}"), mend),
        );
    }
}

impl<'t> Section<'t> {
    /// The tables of one kind, in the order of the file.
    pub(super) fn all(
        schema: &'static Schema,
        root: &'t DeTable<'t>,
        report: &mut Report,
    ) -> Vec<Self> {
        let Some(value) = root.get(schema.name) else { return Vec::new() };
        match (schema.occurs, value.get_ref()) {
            (Occurs::Once, DeValue::Table(table)) => {
                vec![Self::new(schema, table, value.span().start, report)]
            }
            (Occurs::Often, DeValue::Array(tables)) => {
                let tables = tables.iter();
                tables.filter_map(|item| Self::item(schema, item, report)).collect()
            }
            (Occurs::Once | Occurs::Often, _) => {
                report_wrong_shape(schema, value.span().start, report);
                Vec::new()
            }
        }
    }

    /// The table of a kind that occurs once.
    pub(super) fn one(
        schema: &'static Schema,
        root: &'t DeTable<'t>,
        report: &mut Report,
    ) -> Option<Self> {
        Self::all(schema, root, report).pop()
    }

    fn item(
        schema: &'static Schema,
        item: &'t Spanned<DeValue<'t>>,
        report: &mut Report,
    ) -> Option<Self> {
        let offset = item.span().start;
        let Some(table) = item.get_ref().as_table() else {
            report_wrong_shape(schema, offset, report);
            return None;
        };
        Some(Self::new(schema, table, offset, report))
    }

    fn new(
        schema: &'static Schema,
        table: &'t DeTable<'t>,
        offset: usize,
        report: &mut Report,
    ) -> Self {
        let section = Self { schema, table, offset };
        for key in table.keys().filter(|key| !schema.keys.contains(&key.get_ref().as_ref())) {
            let problem = Problem::new("unknown key", schema.mend_unknown(key.get_ref()));
            report.fault(key.span().start, section.path(key.get_ref()), problem);
        }
        section
    }

    /// The key as messages name it: with its table.
    pub(super) fn path(&self, key: &str) -> String {
        self.schema.path(key)
    }

    /// Where the table stands.
    pub(super) const fn offset(&self) -> usize {
        self.offset
    }

    /// Where the value of a key stands; the table's header if there is none.
    pub(super) fn offset_of(&self, key: &str) -> usize {
        self.table.get(key).map_or(self.offset, |value| value.span().start)
    }

    /// Whether a key is there, right or wrong.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// A value that may be absent. A wrong one is reported and counts as absent.
    pub(super) fn optional<T: Value>(&self, key: &str, report: &mut Report) -> Option<At<T>> {
        debug_assert!(self.schema.keys.contains(&key), "{key} is missing in the schema");
        self.read(key, self.table.get(key)?, report)
    }

    /// A value that must be there; `example` is a line to add if it is not.
    pub(super) fn required<T: Value>(
        &self,
        key: &str,
        example: &str,
        report: &mut Report,
    ) -> Option<At<T>> {
        if !self.has(key) {
            self.report_missing(key, example, report);
        }
        self.optional(key, report)
    }

    /// Replaces `place` by the value of a key, if there is one.
    pub(super) fn set<T: Value + Into<U>, U>(&self, key: &str, place: &mut U, report: &mut Report) {
        if let Some(At { value, .. }) = self.optional::<T>(key, report) {
            *place = value.into();
        }
    }

    /// A list that may be absent. Its wrong items are reported and left out.
    pub(super) fn list<T: Value>(&self, key: &str, report: &mut Report) -> Option<At<Vec<At<T>>>> {
        debug_assert!(self.schema.keys.contains(&key), "{key} is missing in the schema");
        let value = self.table.get(key)?;
        let offset = value.span().start;
        let Some(items) = value.get_ref().as_array() else {
            let found = with_article(value.get_ref().type_str());
            let items = match value.get_ref() {
                DeValue::String(text) => quote_each(text),
                DeValue::Integer(number) => number.to_string(),
                _ => "...".to_owned(),
            };
            let mend = format!("put it in brackets: {key} = [{items}]");
            let problem = Problem::new(format!("expected a list, found {found}"), mend);
            report.fault(offset, self.path(key), problem);
            return None;
        };
        let items = items.iter().filter_map(|item| self.item_of_list(key, item, report)).collect();
        Some(At { value: items, offset })
    }

    fn item_of_list<T: Value>(
        &self,
        key: &str,
        item: &Spanned<DeValue<'_>>,
        report: &mut Report,
    ) -> Option<At<T>> {
        // No item of any list has a comma of its own.
        if let Some(text) = item.get_ref().as_str().filter(|text| text.contains(',')) {
            let mend = format!("give each its own quotes: {key} = [{}]", quote_each(text));
            let problem = Problem::new(format!("{text:?} is more than one"), mend);
            report.fault(item.span().start, self.path(key), problem);
            return None;
        }
        self.read(key, item, report)
    }

    /// Reports that a key is missing; `example` is a line to add.
    pub(super) fn report_missing(&self, key: &str, example: &str, report: &mut Report) {
        let mend = format!("add `{example}` below {}", self.schema.header());
        report.fault(self.offset, self.path(key), Problem::new("missing", mend));
    }

    fn read<T: Value>(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        report: &mut Report,
    ) -> Option<At<T>> {
        let offset = value.span().start;
        match T::read(value.get_ref()) {
            Ok(value) => Some(At { value, offset }),
            Err(problem) => {
                report.fault(offset, self.path(key), problem);
                None
            }
        }
    }
}

/// The parts of a list that stands in one string, as items of a list of TOML.
fn quote_each(text: &str) -> String {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let quoted: Vec<_> = parts.map(|part| format!("{part:?}")).collect();
    quoted.join(", ")
}

fn report_wrong_shape(schema: &Schema, offset: usize, report: &mut Report) {
    let header = schema.header();
    let problem = match schema.occurs {
        Occurs::Once => Problem::new("must be one table", format!("write `{header}` once")),
        Occurs::Often => Problem::new(
            "must be a list of tables",
            format!("write `{header}`, with double brackets, above each"),
        ),
    };
    report.fault(offset, schema.name, problem);
}

/// The name of a type with its article.
pub(super) fn with_article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}
