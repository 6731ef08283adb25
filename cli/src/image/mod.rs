//! The image of the shop: one static program on nothing, laid out here without any engine.
//!
//! What goes in is a value: a [`tree`] of files for each layer ([`contents`]), and how the image is run. [`layout`] turns it
//! into blobs (a reproducible [`layer`], the [`document`]s that name them by [`digest`]), so the same inputs have the same
//! digest on any machine. The edges bring the program ([`build`], looked at by [`program`]) and carry the image away: to an
//! [`archive`] or a [`folder`], into [`containerd`], or to a [`registry`] under a [`reference`](mod@reference). [`stored`] is an
//! image that was laid out before, by us or by others; [`inspect`] tells what is in it, and [`compare`] how large the image
//! would be if one did not take the trouble.

pub mod archive;
pub mod build;
pub mod compare;
pub mod containerd;
pub mod contents;
pub mod digest;
pub mod document;
pub mod folder;
pub mod inspect;
pub mod layer;
pub mod layout;
pub mod program;
pub mod reference;
pub mod registry;
pub mod stored;
pub mod tree;
