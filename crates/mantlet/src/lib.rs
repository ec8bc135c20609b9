//! mantlet
