//! `haven staff token`.
