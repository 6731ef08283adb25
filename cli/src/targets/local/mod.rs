//! The shop on this machine: one process that holds its data folder.
//!
//! [`lock`] says who holds the folder and where it answers, [`serve`] runs the shop in this process,
//! [`launch`] runs it in another one, [`checks`] says what must be in place before, [`figures`] how busy it is.

pub mod checks;
pub mod figures;
pub mod launch;
pub mod lock;
pub mod port;
