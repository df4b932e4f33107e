//! Placeholder of the room `interpreter`.
