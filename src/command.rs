//! Placeholder of the room `command`.
