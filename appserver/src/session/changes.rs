//! What one request changed: for managers that pass changes on, attribute by attribute, rather than whole sessions. This is
//! what Tomcat's attribute listeners are to its replication.
//!
//! Mostly only names are kept. At the end of the request the manager reads their values as they are then, so that of parallel
//! requests the one that is passed on last passes on what the session really holds.

use super::attributes::{AttributeError, Attributes};
use super::value::Value;

/// A request that changes more than this passes on the last value of each attribute only.
const EVERY_MAX: usize = 4096;

/// The changes of one request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// Attributes that were set or removed, in the order of the latest change; what is not in the session now was removed.
    pub attributes: Vec<String>,
    /// The interval was set.
    pub max_inactive: bool,
    /// Each change by itself, in order, if the manager wants that: the attribute and its value then, `None` where it was removed.
    pub every: Option<Vec<(String, Option<Value>)>>,
}

impl Changes {
    /// Nothing yet; each change will be kept by itself.
    pub(super) fn each() -> Self {
        Self {
            every: Some(Vec::new()),
            ..Self::default()
        }
    }

    /// Whether nothing was changed.
    pub fn is_empty(&self) -> bool {
        self.attributes.is_empty() && !self.max_inactive
    }

    /// These changes, and then those.
    pub fn then(&mut self, later: Self) {
        later.attributes.iter().for_each(|name| self.changed(name));
        self.max_inactive |= later.max_inactive;
        let every = self.every.take().zip(later.every);
        self.every = every.map(|(mut every, later)| {
            every.extend(later);
            every
        });
        self.every.take_if(|every| every.len() > EVERY_MAX);
    }

    fn changed(&mut self, name: &str) {
        self.attributes.retain(|n| n != name);
        self.attributes.push(name.to_owned());
    }

    fn took(&mut self, name: &str, value: impl FnOnce() -> Option<Value>) {
        self.changed(name);
        if let Some(every) = &mut self.every {
            every.push((name.to_owned(), value()));
        }
        self.every.take_if(|every| every.len() > EVERY_MAX);
    }
}

/// Attributes being changed in one step, and, if the manager wants it, a record of the names. Setting an equal value counts
/// as a change, as in Tomcat; a refused change and the removal of what is not there do not.
#[derive(Debug)]
pub struct Edit<'a> {
    attributes: &'a mut Attributes,
    changes: Option<&'a mut Changes>,
}

impl<'a> Edit<'a> {
    pub(super) fn new(attributes: &'a mut Attributes, changes: Option<&'a mut Changes>) -> Self {
        Self {
            attributes,
            changes,
        }
    }

    /// See [`Attributes::set`].
    pub fn set(&mut self, name: &str, value: &Value) -> Result<(), AttributeError> {
        self.attributes.set(name, value)?;
        self.changed(name);
        Ok(())
    }

    /// See [`Attributes::set_str`].
    pub fn set_str(&mut self, name: &str, text: &str) -> Result<(), AttributeError> {
        self.attributes.set_str(name, text)?;
        self.changed(name);
        Ok(())
    }

    /// See [`Attributes::append`].
    pub fn append(&mut self, name: &str, item: &Value) -> Result<(), AttributeError> {
        self.attributes.append(name, item)?;
        self.changed(name);
        Ok(())
    }

    /// See [`Attributes::add`].
    pub fn add(&mut self, name: &str, amount: i64) -> Result<i64, AttributeError> {
        let sum = self.attributes.add(name, amount)?;
        self.changed(name);
        Ok(sum)
    }

    /// See [`Attributes::remove`].
    pub fn remove(&mut self, name: &str) -> bool {
        let removed = self.attributes.remove(name);
        if removed {
            self.changed(name);
        }
        removed
    }

    /// See [`Attributes::get`].
    pub fn get(&self, name: &str) -> Option<Value> {
        self.attributes.get(name)
    }

    fn changed(&mut self, name: &str) {
        if let Some(changes) = &mut self.changes {
            changes.took(name, || self.attributes.get(name));
        }
    }
}
