//! Placeholder of the room `worker`.
