//! Placeholder of the room `master`.
