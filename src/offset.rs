//! Where a source stands.

/// A position in a source, as the JSON that progress shows and the checkpoint stores. Only the source reads it.
pub type Offset = serde_json::Value;
