//! Dotted paths in TOML.

use toml::{Table, Value};

/// Calls `visit` with the dotted path of every value that is not a table; elements of table arrays count from 0.
pub(super) fn walk(value: &Value, path: String, visit: &mut impl FnMut(&str, &Value)) {
    let below = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    match value {
        Value::Table(table) => table
            .iter()
            .for_each(|(name, value)| walk(value, below(name), visit)),
        Value::Array(items) if items.iter().any(Value::is_table) => {
            items
                .iter()
                .enumerate()
                .for_each(|(i, value)| walk(value, below(&i.to_string()), visit));
        }
        leaf => visit(&path, leaf),
    }
}

/// Puts `value` at a dotted path, making tables on the way; the error is the part that is in the way.
pub(super) fn put(table: &mut Table, path: &str, value: Value) -> Result<(), String> {
    match path.split_once('.') {
        None => {
            table.insert(path.to_owned(), value);
            Ok(())
        }
        Some((first, rest)) => {
            let next = table
                .entry(first)
                .or_insert_with(|| Value::Table(Table::new()));
            put(
                next.as_table_mut().ok_or_else(|| first.to_owned())?,
                rest,
                value,
            )
        }
    }
}

/// Whether the dotted path `inner` is `outer` or lies below it.
pub(super) fn below(inner: &str, outer: &str) -> bool {
    inner
        .strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
