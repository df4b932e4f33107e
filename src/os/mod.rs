//! Placeholder of the room `os`.
