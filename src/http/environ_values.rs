//! What the access log is told of the environ, after the application has run. Knows no Python.

/// Values of the keys that a format names.
#[derive(Clone, Debug, Default)]
pub struct EnvironValues(Vec<EnvironValue>);

#[derive(Clone, Debug)]
struct EnvironValue {
    key: String,
    state: ValueState,
    value: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ValueState {
    /// Not looked at, or the same as in the request.
    Unknown,
    /// The application has removed it.
    Removed,
    /// There is another value.
    Set,
}

impl EnvironValues {
    /// Returns a set of these keys without values.
    pub fn new(keys: Vec<String>) -> EnvironValues {
        let nothing = |key| EnvironValue { key, state: ValueState::Unknown, value: Vec::new() };
        EnvironValues(keys.into_iter().map(nothing).collect())
    }

    /// Forgets the values.
    pub fn clear(&mut self) {
        self.0.iter_mut().for_each(|value| value.state = ValueState::Unknown);
    }

    /// Sets the value of the key in that place.
    pub fn set(&mut self, place: usize, value: &[u8]) {
        if let Some(known) = self.0.get_mut(place) {
            known.state = ValueState::Set;
            known.value.clear();
            known.value.extend_from_slice(value);
        }
    }

    /// Notes that the application has removed the key in that place.
    pub fn remove(&mut self, place: usize) {
        if let Some(known) = self.0.get_mut(place) {
            known.state = ValueState::Removed;
        }
    }

    pub(super) fn of(&self, key: &str) -> Option<&[u8]> {
        let known = self.0.iter().find(|value| value.key == key)?;
        (known.state == ValueState::Set).then_some(&known.value[..])
    }

    pub(super) fn is_removed(&self, key: &str) -> bool {
        self.0.iter().any(|value| value.key == key && value.state == ValueState::Removed)
    }
}
