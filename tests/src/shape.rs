//! The shape of JSON documents: which keys, of which type.
