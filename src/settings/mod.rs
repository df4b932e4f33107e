//! Placeholder of the room `settings`.
