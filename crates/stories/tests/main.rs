//! Every story that needs more than one crate, told to a real kubectl and a real API server. One binary.

mod transparency;
mod join;
mod around;
mod bounded;
mod bypass;
mod identity;
mod lost;
