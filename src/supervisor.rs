//! Placeholder of the room `supervisor`.
