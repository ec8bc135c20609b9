//! Every story that needs more than one crate, told to a real kubectl and a real API server. One binary.

mod transparency;
