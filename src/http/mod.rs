//! Placeholder of the room `http`.
